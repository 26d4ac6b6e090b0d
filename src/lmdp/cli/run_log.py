"""The log of a run on standard error: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleDimensions
from rich.text import Text

from lmdp.cli.live import EVERY_S, SHARE, Screen, opened, view
from lmdp.errors import LmdpError
from lmdp.support.printable import printable
from lmdp.support.program import at_home, program

if TYPE_CHECKING:
    from pathlib import Path

    from lmdp.machine.status import RunState

_PLAIN_EVERY_S = 10.0
_RECENT = 100  # lines that are printed again when the terminal has another size


class RunLog:
    """Log of a run on standard error: a live view on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._recent: deque[str] = deque(maxlen=_RECENT)

    def __call__(self, text: str) -> None:
        """Log a line with the time of day."""
        line = f"{time.strftime('%H:%M:%S')} {printable(text)}"
        self._recent.append(line)
        with contextlib.suppress(OSError):  # a full or closed standard error loses lines, never rows
            self._console.print(line, markup=False)

    def watching(self) -> _LiveView:
        """Return what shows the pipeline while it runs."""
        return _LiveView(self._console, self, self._recent)

    def summary(self, report: dict[str, Any], home: Path) -> None:
        """Log at the end what was done, and what to look at next."""
        repeats = f", {report['duplicates']:,} duplicates" if report["duplicates"] is not None else ""
        first = f"; the first reject: {report['firstReject']}" if report["firstReject"] else ""
        self(
            f"ended: {report['messages']:,} messages, {report['rows']:,} rows, {report['rejectedMessages']:,} rejects"
            f"{repeats} in {report['warehouse']}{first}"
        )
        if report.get("snowflake") and report["missing"]:
            self(
                f"WRONG: {report['missing']:,} rows were refused by Snowflake ({report['snowflake']['lastError']}); "
                f"next: {program()} snowflake errors FOLDER"
            )
        elif report["missing"] or report["holes"]:
            self(
                f"WRONG: {report['missing']:,} rows are missing, {report['holes']:,} messages were skipped; next: "
                f"{program()} doctor{at_home(home)} --only local"
            )
        clock: dict[str, int] = report["clock"]
        if clock["ahead"] or clock["expired"]:
            self(
                f"CLOCK: {clock['ahead']:,} rows are dated more than a day ahead, {clock['expired']:,} are older than "
                "--keep: a sender's clock is wrong, or old data was sent"
            )
        if report["warning"]:
            self(str(report["warning"]))
        if report["gaps"]:
            self(f"LOST: {report['gaps']:,} messages expired before they were read; the table GAPS lists them")


class _LiveView:
    def __init__(self, console: Console, log: RunLog, recent: deque[str]) -> None:
        self._log = log
        self._screen = Screen(console, transient=True, recent=lambda: recent) if console.is_terminal else None
        self._next = 0.0

    def __enter__(self) -> Callable[[RunState], None]:
        if self._screen:
            with contextlib.suppress(OSError):  # a terminal that is gone loses lines, never rows
                self._screen.__enter__()
        return self._watch

    def __exit__(self, *_: object) -> None:
        if self._screen:
            with contextlib.suppress(OSError):  # as above
                self._screen.__exit__()

    def _watch(self, machine: RunState) -> None:
        begun = time.monotonic()
        if begun < self._next and not (self._screen and self._screen.is_resized()):
            return
        if self._screen:
            with contextlib.suppress(OSError):  # as above
                self._screen.show(lambda size: _drawn(machine, size))
            self._next = begun + max(EVERY_S, SHARE * (time.monotonic() - begun))
        else:
            self._next = begun + _PLAIN_EVERY_S
            self._log(_line(machine))


def _drawn(machine: RunState, size: ConsoleDimensions) -> Text:
    home = machine.settings.home
    try:
        return view(opened(machine.status(), home), size=size, home=home)
    except LmdpError as error:  # the warehouse does not answer just now; the counts are known without it
        return view(None, f"{_line(machine)}; {error}", size)


def _line(machine: RunState) -> str:
    progress = machine.progress
    counts = progress.counts
    published = f"{machine.publisher.so_far().messages:,} published → " if machine.publisher else ""
    rejects = f", {counts.rejected_messages:,} rejects" if counts.rejected_messages else ""
    lag = f", lag {sum(progress.lag.values()):,}" if progress.lag else ""
    return (
        f"{published}{counts.messages:,} consumed → {counts.rows:,} rows{rejects}"
        f" ({progress.rows_per_second():,.0f} rows/s{lag})"
    )
