"""Pipes as files: nothing waits for the other end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lmdp.support.opening import open_nonblocking, read_bytes
from running import call


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A pipe at which nobody is."""
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def test_a_pipe_without_another_end_is_not_waited_for(fifo: Path) -> None:
    """It reads as empty, and cannot be written."""
    assert read_bytes(fifo) == b""
    with pytest.raises(OSError, match="No such device"):
        open(fifo, "wb", opener=open_nonblocking)  # noqa: SIM115 - it raises


def test_a_pipe_that_is_written_is_read_to_its_end() -> None:
    """As a shell's `<(…)` is."""
    read, write = os.pipe()
    os.write(write, b"whole")
    os.close(write)
    assert read_bytes(Path(f"/dev/fd/{read}")) == b"whole"
    os.close(read)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["cost", "--prices", "fifo"], 0),
        (["cost", "--report", "fifo"], 2),
        (["flatten", "--org-id", "acme", "--report", "fifo", "-"], 3),
        (["flatten", "--org-id", "acme", "--rejects", "fifo", "-"], 3),
        (["certs", "--home", "fifo"], 2),
        (["snowflake", "keypair", "--show", "--file", "fifo"], 2),
        (["run", "--bootstrap-servers", "kafka:9", "--ca", "fifo", "--no-page"], 2),
    ],
)
def test_no_command_waits_for_a_pipe(fifo: Path, words: list[str], code: int) -> None:
    """Each option that names a file is answered at once."""
    ended = call(*words, folder=fifo.parent)
    assert (ended.code, "Traceback" in ended.err) == (code, False), ended.err
