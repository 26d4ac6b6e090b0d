"""The pipeline's status as lines for a terminal: for a run's own view, and for `lmdp status`.

Every line has its place and its label, so that nothing jumps when numbers grow. A small terminal shows what matters.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

from rich.console import Console, ConsoleDimensions
from rich.live import Live
from rich.text import Text

from lmdp.cli.options import DEFAULT_HOME
from lmdp.page import formats
from lmdp.page.security import with_token
from lmdp.support.printable import printable
from lmdp.support.program import at_home, program
from lmdp.support.reject_share import replay_command

EVERY_S = 2.0
SHARE = 10  # a look takes a tenth of the time at most, since it asks the warehouse

_LABEL = 12
_COLUMN = 13
_ARROW = "  →  "
_SHORT_ARROW = " → "
_WRAPPED = 3  # rows of a fault
_UNIMPORTANT: Final = (
    *("blank", "page", "source", "warehouse", "table", "latency", "freshness", "in flight", "inserted", "all runs"),
    *("running", "per second", "", "this run", "receiver", "lag", "rejects"),
)
"""Labels of the lines that a low terminal leaves out, the first ones first; faults are not among them."""
_SOON_DAYS = 60
_WRONG = (("duplicates", "duplicate rows"), ("missing", "missing rows"), ("holes", "skipped messages"))


def lines(
    status: dict[str, Any] | None, fault: str = "", width: int | None = None, home: Path = DEFAULT_HOME
) -> list[str]:
    """Draw the status of `home`; `fault` is why there is no newer one. A terminal of less `width` has figures first."""
    if status is None:
        return [_one_line(fault)]
    running = status["running"]
    if running is None or fault:
        first = _one_line(fault) if fault else _not_running(home)
        return [first, *_warehouse(status, width, home), *_only_rejects(status, home)]
    return [
        *(*_source(running), "", *_path(status, width), "", *_rates(running)),
        *(*_warehouse(status, width, home), *_trouble(running)),
    ]


def _not_running(home: Path) -> str:
    """Name the command; of a run elsewhere, as a service's, nobody knows the options, and without them it simulates."""
    options = at_home(home)
    return f"not running; `{program()} run{options}`{', with its other options,' if options else ''} starts it"


def fitted(drawn: list[str], width: int, height: int) -> list[str]:
    """Return the lines that a terminal has space for: faults in full, and the others by what matters."""
    kept = [(_label(line), row) for line in drawn for row in _wrapped(line, width)]
    for unimportant in _UNIMPORTANT:
        while len(kept) > height and (found := [at for at, (label, _) in enumerate(kept) if label == unimportant]):
            del kept[found[0]]
    return [row for _, row in kept[:height]]


def _label(row: str) -> str:
    return row[:_LABEL].strip() if row else "blank"


def _wrapped(line: str, width: int) -> list[str]:
    if len(line) <= width or _label(line) in _UNIMPORTANT:
        return [line]
    return textwrap.wrap(line, width, subsequent_indent=" " * (_LABEL if width > 2 * _LABEL else 0), max_lines=_WRAPPED)


def opened(status: dict[str, Any], home: Path) -> dict[str, Any]:
    """Return a status whose page has its token, for the owner's terminal alone: no log or report has it."""
    running = status["running"]
    if not running or not running.get("page"):
        return status
    return {**status, "running": {**running, "page": with_token(home, running["page"])}}


def view(
    status: dict[str, Any] | None, fault: str = "", size: ConsoleDimensions | None = None, home: Path = DEFAULT_HOME
) -> Text:
    """The same for a terminal, each line cut to its width; with a `size`, those for which it has space."""
    drawn = lines(status, fault, size.width if size else None, home)
    if size:
        drawn = fitted(drawn, size.width, max(1, size.height - 1))
    text = Text("\n".join(drawn), no_wrap=True, overflow="ellipsis")
    text.highlight_regex(r"(?m)^[a-z]+( second| runs?)? {2,}", "dim")
    text.highlight_regex(r"(?m)^(LOST|WRONG|CLOCK) .*", "bold red")
    text.highlight_regex(r"(?m)^trouble +(?!none)\S.*", "bold red")
    return text


def _source(running: dict[str, Any]) -> list[str]:
    simulating = " (with simulated devices)" if running["simulating"] else ""
    return [
        _line("running", f"pid {running['pid']} for {_uptime(running['uptimeSeconds'])}"),
        _line("source", f"{running['topic']} at {running['broker'] or 'the broker that is starting'}{simulating}"),
        *([_receiver(running["receiver"])] if running.get("receiver") else []),
        _line("page", running.get("page") or "none"),
    ]


def _receiver(found: dict[str, Any]) -> str:
    counts = f"{found['accepted']:,} accepted, {found['busy']:,} to be retried, {found['refused']:,} refused"
    trouble = f". {found['trouble']}" if found["trouble"] else ""
    return _line("receiver", f"{found['address']}, requests: {counts}{trouble}")


class Screen:
    """A view that is drawn in place on a terminal, and from a clear screen when that has another size.

    A terminal wraps what it shows when it becomes smaller, so nobody knows then where the view begins. `recent` returns
    lines of text that are above it, the oldest first.
    """

    def __init__(self, console: Console, *, transient: bool, recent: Callable[[], Iterable[str]] = tuple) -> None:
        self._console, self._transient, self._recent = console, transient, recent
        self._live = self._new()
        self._size: ConsoleDimensions | None = None

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def is_resized(self) -> bool:
        """Return whether the terminal has another size than at the last drawing."""
        return self._size is not None and self._size != self._console.size

    def show(self, draw: Callable[[ConsoleDimensions], Text]) -> None:
        """Draw a view for the size of the terminal."""
        size = self._console.size
        text = draw(size)
        if self.is_resized():
            self._live.stop()
            self._console.clear()
            space = size.height - text.plain.count("\n") - 2
            for line in list(self._recent())[-space:] if space > 0 else ():
                self._console.print(line, markup=False)
            self._live = self._new()
            self._live.start()
        self._size = size
        self._live.update(text, refresh=True)

    def _new(self) -> Live:
        return Live(console=self._console, transient=self._transient, auto_refresh=False)


def _path(status: dict[str, Any], width: int | None) -> list[str]:
    """The stations, the counts of this run at each, and what passes there in a second."""
    running, report = status["running"], status["running"]["report"]
    stations = [
        ("consumed", report["messages"], formats.rate(running.get("messagesPerSecond"))),
        ("rows", report["rows"], formats.rate(running["rowsPerSecond"])),
    ]
    if "published" in report:
        stations.insert(0, ("published", report["published"], ""))
    column, arrow = _COLUMN, _ARROW
    if width is not None and _LABEL + len(stations) * (column + len(arrow)) - len(arrow) > width:
        column, arrow = max(max(len(name), len(f"{count:,}")) for name, count, _ in stations), _SHORT_ARROW
        fit = max(1, (width - _LABEL + len(arrow)) // (column + len(arrow)))
        stations = stations[-fit:]
    space = " " * len(arrow)
    return [
        _line("", space.join(f"{name:>{column}}" for name, _, _ in stations)),
        _line("this run", arrow.join(f"{count:>{column},}" for _, count, _ in stations)),
        _line("per second", space.join(f"{rate:>{column}}" for _, _, rate in stations)),
    ]


def _rates(running: dict[str, Any]) -> list[str]:
    latency = running["report"]["latencyMs"]
    p50, p99 = (_span(None if latency[q] is None else latency[q] / 1000) for q in ("p50", "p99"))
    return [
        _line("lag", f"{running['lag']:,} messages behind"),
        _line("latency", f"p50 {p50}, p99 {p99}, from Kafka to the warehouse"),
    ]


def _snowflake(status: dict[str, Any]) -> list[str]:
    found = status["snowflake"]
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in status["rejectsByReason"].items())
    refused = f"{found['rowsRefused']:,} rows were refused by Snowflake ({found['lastError'] or 'no reason given'}): "
    return [
        _line("inserted", f"{status['rows']:,} rows of this run, through {found['channels']:,} channels"),
        _line("in flight", f"{formats.together(formats.size(found['bytesInFlight']))} accepted and not committed"),
        _line(
            "rejects", f"{status['rejects']:,}{f': {reasons}' if reasons else ''}, of this run, in {found['rejectsIn']}"
        ),
        _line("table", status["warehouse"]),
        *([_line("WRONG", f"{refused}{program()} snowflake errors FOLDER")] if found["rowsRefused"] else []),
    ]


def _warehouse(status: dict[str, Any], width: int | None, home: Path) -> list[str]:
    if status.get("snowflake"):
        return _snowflake(status)
    size, free = (formats.together(formats.size(status[name])) for name in ("sizeBytes", "freeBytes"))
    left = status["daysLeftOnDisk"]
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in status["rejectsByReason"].items())
    figures = f"{size}, {free} free" + (f", full in {left:,} days" if left is not None and left < _SOON_DAYS else "")
    place = f"{status['warehouse']}: {figures}"
    drawn = [
        _line("all runs", f"{status['rows']:,} rows in the warehouse"),
        _line("freshness", f"{_span(status['freshnessSeconds'])} since the newest row was measured"),
        _line("rejects", f"{status['rejects']:,}" + (f": {reasons}" if reasons else "")),
        _line("warehouse", f"{figures}: {status['warehouse']}" if width and _LABEL + len(place) > width else place),
    ]
    if status["gaps"]:
        drawn.append(
            _line("LOST", f"{status['gaps']:,} messages expired before they were read; the table GAPS lists them")
        )
    if ahead := status["clock"]["ahead"]:
        drawn.append(_line("CLOCK", f"{ahead:,} rows are dated more than a day ahead: a sender's clock is wrong"))
    if expired := status["clock"]["expired"]:
        drawn.append(_line("CLOCK", f"{expired:,} rows are older than --keep keeps, and go with the next removal"))
    wrong = [f"{status[name]:,} {what}" for name, what in _WRONG if status[name]]
    look = f"{program()} doctor{at_home(home)} --only local"
    return drawn + ([_line("WRONG", f"{', '.join(wrong)}; look: {look}")] if wrong else [])


def _only_rejects(status: dict[str, Any], home: Path) -> list[str]:
    if status["rows"] or not status["rejects"]:
        return []
    again = replay_command("--dry-run", home, Path(status["warehouse"]))
    return [_line("trouble", f"everything was rejected. Fix the cause, then look at what a replay would do: {again}")]


def _trouble(running: dict[str, Any]) -> list[str]:
    now, last = running["trouble"] or running.get("warning"), running.get("lastTrouble")
    if now or not last:
        return [_line("trouble", now or "none")]
    at = datetime.fromtimestamp(last["atMs"] / 1000).astimezone()
    return [_line("trouble", f"none now; at {at:%H:%M:%S}: {last['text']}")]


def _line(label: str, text: str) -> str:
    return _one_line(f"{label:<{_LABEL}}{text}")


def _one_line(text: str) -> str:
    return printable(text.replace("\n", " ").replace("\t", " ")).rstrip()


def _span(seconds: float | None) -> str:
    return formats.together(formats.span(seconds))


def _uptime(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
