"""Standard streams that are full or closed: what was cut short is told, and nothing else fails."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from running import PROGRAM, environment

BUNDLE = Path(__file__).parents[1] / "fixtures" / "otlp" / "attribute_types_bundle.json"


def flattened(folder: Path, redirected: str, *more: str) -> subprocess.CompletedProcess[bytes]:
    """`lmdp flatten` of a bundle with its streams so redirected."""
    line = f"exec {shlex.join([*PROGRAM, 'flatten', '--org-id', 'acme', str(BUNDLE), *more])} {redirected}"
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment(), capture_output=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("redirected", "why"), [(">/dev/full", b"No space left on device"), (">&-", b"Bad file descriptor")]
)
def test_output_that_was_cut_short_is_told(tmp_path: Path, redirected: str, why: bytes) -> None:
    """Exit code 1, one sentence, no traceback."""
    done = flattened(tmp_path, redirected)
    assert done.returncode == 1
    assert done.stderr.startswith(b"lmdp: standard output could not be written: " + why)
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("redirected", ["2>/dev/full", "2>&-"])
def test_messages_that_cannot_be_printed_are_let_go(tmp_path: Path, redirected: str) -> None:
    """The rows are all there, and the exit code is that of the command."""
    whole, done = flattened(tmp_path, ""), flattened(tmp_path, redirected)
    assert (done.returncode, done.stdout, done.stderr) == (0, whole.stdout, b"")


def test_an_error_without_a_place_to_print_keeps_its_exit_code(tmp_path: Path) -> None:
    """2 for a file that is not there."""
    assert flattened(tmp_path, "2>&-", "missing.json").returncode == 2


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    """Else what is printed lands in it: the rejects' file would be number 1."""
    (tmp_path / "bad.json").write_text('{"resourceMetrics": 1}')
    done = flattened(tmp_path, "<&- >&-", "bad.json", "--rejects", "rejects")
    assert done.returncode == 1
    lines = (tmp_path / "rejects").read_bytes().splitlines()
    assert len(lines) == 1
    assert b"errorCode" in lines[0]
