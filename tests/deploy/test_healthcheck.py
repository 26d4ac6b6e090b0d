"""The health check of the container, against the real API of a run, and a port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lmdp.machine.api.server import serving
from new_warehouse import open_warehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).parents[2] / "deploy" / "healthcheck.py"


def checked(home: Path, *words: str, **env: str) -> tuple[int, str]:
    """Run the script as a container does; its exit code, and what it said."""
    command = [sys.executable, "-I", str(SCRIPT), *words]
    env = {"PATH": os.environ["PATH"], "LMDP_HOME": str(home), **env}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr.strip()


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The API of a run in a home, and the status that it answers with."""
    status: dict[str, Any] = {"running": {"trouble": ""}}
    tmp_path.chmod(0o700)
    with (
        open_warehouse(tmp_path / "warehouse.duckdb") as warehouse,
        serving(tmp_path, warehouse, lambda: status),
    ):
        yield tmp_path, status


def test_a_run_that_answers_is_alive(answering: tuple[Path, dict[str, Any]]) -> None:
    """Also when it is blocked, but then it is not ready."""
    home, status = answering
    assert checked(home) == (0, "")
    assert checked(home, "ready") == (0, "")
    status["running"]["trouble"] = "Kafka is unreachable"
    assert checked(home) == (0, "")
    assert checked(home, "ready") == (1, "blocked: Kafka is unreachable")


def test_without_a_run_the_warehouse_is_left_alone(tmp_path: Path) -> None:
    """A file alone is no run; the check says so without opening it."""
    (tmp_path / "warehouse.duckdb").write_text("no DuckDB file")
    code, said = checked(tmp_path)
    assert code == 1
    assert said.startswith("no answer: ")


def test_a_receiver_is_asked_at_its_port(tmp_path: Path) -> None:
    """Where it listens on all addresses, on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listen = f"0.0.0.0:{listener.getsockname()[1]}"
        assert checked(tmp_path, LMDP_RECEIVE_LISTEN=listen) == (0, "")
    code, said = checked(tmp_path, LMDP_RECEIVE_LISTEN=listen)
    assert code == 1
    assert "refused" in said


def test_a_run_with_a_receiver_is_asked_at_its_socket(answering: tuple[Path, dict[str, Any]]) -> None:
    """The receiver ends with its run, and the run knows whether it is blocked."""
    home, status = answering
    assert checked(home, LMDP_RECEIVE_LISTEN="127.0.0.1:1") == (0, "")
    status["running"]["trouble"] = "Kafka is unreachable"
    assert checked(home, "ready", LMDP_RECEIVE_LISTEN="127.0.0.1:1")[0] == 1
