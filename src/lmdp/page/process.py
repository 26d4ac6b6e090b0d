"""Process of the page, started and stopped by `lmdp run`. Its failure never stops the pipeline."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from lmdp.page.security import tokens, with_token
from lmdp.support.program import at_home, child_environment, module_command, program

PORT = 8088
LISTENING = "listening "
_STOP_S = 5.0
_RESTART_S = 5.0
_STARTS = 5


@contextlib.contextmanager
def page(
    home: Path, notify: Callable[[str], None], *, port: int | None = None, shows_token: bool = False
) -> Iterator[Callable[[], str]]:
    """Serve the page of `home` during the block, on `port` or a free one near 8088; `notify` of its address.

    `shows_token` says that only the owner sees what `notify` gets: a terminal, not a log. Yields a function that
    returns the address without the token, empty until the page listens.
    """
    with contextlib.suppress(OSError):  # the page's process has the same fault, and ends with it
        tokens(home)
    server = _PageProcess(home, port, notify, shows_token=shows_token)
    thread = threading.Thread(target=server.run, name="page", daemon=True)
    thread.start()
    try:
        yield server.url
    finally:
        server.stop()
        thread.join(_STOP_S)


class _PageProcess:
    def __init__(self, home: Path, port: int | None, notify: Callable[[str], None], *, shows_token: bool) -> None:
        self._home, self._port, self._notify, self._shows_token = home, port, notify, shows_token
        self._ending = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._url = ""

    def run(self) -> None:
        """Start the page, and restart it a few times when it exits."""
        for _ in range(_STARTS):
            last = self._serve()
            if self._ending.is_set():
                return
            if not self._url:
                self._notify(f"no page: {last or 'it did not start'}. The pipeline runs without it")
                return
            self._notify(f"the page process exited ({last or 'no output'}); restarting it. The pipeline keeps running")
            if self._ending.wait(_RESTART_S):
                return
        self._notify("the page process keeps exiting, so it is not restarted. The pipeline keeps running")

    def url(self) -> str:
        """Return the address on which the page listens, or last did."""
        return self._url

    def stop(self) -> None:
        """Stop the page."""
        self._ending.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()

    def _serve(self) -> str:
        """Run the page once, and return the last line that it printed apart from its address."""
        last = ""
        try:
            with self._started() as process:
                self._process = process
                if self._ending.is_set():
                    process.terminate()
                assert process.stdout is not None
                for line in process.stdout:
                    if line.startswith(LISTENING):
                        self._set_url(line.removeprefix(LISTENING).strip())
                    elif line.strip():
                        last = line.strip()
        except OSError as error:
            return str(error)
        return last

    def _started(self) -> subprocess.Popen[str]:
        words = [*module_command("lmdp.page"), "--home", str(self._home)]
        if self._port is not None:
            words += ["--port", str(self._port)]
        # Its own session: Ctrl-C is for the run, which then stops the page. Its standard input closes when the run
        # ends, however it ends.
        return subprocess.Popen(  # noqa: S603 - this program's own module
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            env=child_environment(os.environ) | {"PYTHONUNBUFFERED": "1"},
        )

    def _set_url(self, url: str) -> None:
        if url != self._url:
            wanted = self._port or PORT
            other = "" if url.endswith(f":{wanted}") else f" (port {wanted} is taken)"
            shown = with_token(self._home, url) if self._shows_token else url
            opens = (
                ""
                if self._shows_token
                else f" (in a terminal, {program()} status{at_home(self._home)} shows it with its token)"
            )
            self._notify(f"the page is at {shown}{other}{opens}")
        self._url = url
