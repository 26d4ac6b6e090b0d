"""What child programs are given of the environment."""

from __future__ import annotations

from lmdp.support.child_processes import environment


def test_a_child_is_given_no_secret() -> None:
    """What a Java and a Python need, and nothing else."""
    given = {
        "PATH": "/bin",
        "HOME": "/home/me",
        "LC_ALL": "C.UTF-8",
        "JAVA_HOME": "/java",
        "AWS_SECRET_ACCESS_KEY": "x",
        "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE": "x",
        "LMDP_KAFKA_KEY": "x",
        "MY_TOKEN": "x",
    }
    assert set(environment(given)) == {"PATH", "HOME", "LC_ALL", "JAVA_HOME"}
