"""Supervisor of one child program that must not outlive the program that asked for it; it limits the log's size.

Started as a program of its own (`python supervisor.py LOG COMMAND...`), with the standard library alone: a signal at
the parent's death (`PR_SET_PDEATHSIG`) would come already when the *thread* that started the child ends, and code
between fork and exec is unsafe where threads run. Its standard input is a pipe from the parent; when the parent is
gone, however it went, the pipe closes and the child is asked to stop. File descriptors that it inherits pass on to the
child, so a lock that they hold lasts as long as the child does.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from pathlib import Path

LOG_BYTES = 5_000_000  # two files of this size at most
STOP_SECONDS = 20
POLL_SECONDS = 1.0


def main(log: Path, command: list[str]) -> int:
    """Run `command`, write what it prints to `log`, and return its exit code."""
    parent = os.getppid()
    child = subprocess.Popen(  # noqa: S603 - the command that this program is for
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        close_fds=False,
        preexec_fn=_die_with_supervisor,  # noqa: PLW1509 - this program has one thread
    )
    for asked in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(asked, lambda *_: _ask_to_stop(child))
    _watch(child, log, parent)
    return child.wait()


def _ask_to_stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    signal.signal(signal.SIGALRM, lambda *_: child.kill())
    signal.alarm(STOP_SECONDS)


def _watch(child: subprocess.Popen[bytes], log: Path, parent: int) -> None:
    """Copy the child's output until it ends; ask it to stop once the parent is gone."""
    assert child.stdout is not None
    output = child.stdout.fileno()
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        selector.register(0, selectors.EVENT_READ)
        is_orphan = False
        while True:
            ready = {key.fd for key, _ in selector.select(POLL_SECONDS)}
            # The second test is for a forked process that still holds the pipe's other end.
            if not is_orphan and ((0 in ready and not os.read(0, 1024)) or os.getppid() != parent):
                is_orphan = True
                selector.unregister(0)
                _ask_to_stop(child)
            if output in ready and not _copy(output, log):
                return


def _copy(output: int, log: Path) -> bool:
    """Append what the child printed; a full disk loses the log, never the broker."""
    chunk = os.read(output, 65536)
    try:
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_name(f"{log.name}.1"))
        with log.open("ab") as file:
            file.write(chunk)
    except OSError:
        pass
    return bool(chunk)


def _die_with_supervisor() -> None:
    """Ask Linux to stop the child should this program itself be killed; elsewhere there is no such thing."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - only Linux has prctl

        set_parent_death_signal = (
            1  # PR_SET_PDEATHSIG, https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
        )
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
