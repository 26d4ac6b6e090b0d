"""The live view: a status as lines, and as a terminal shows it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, ConsoleDimensions

from lmdp.cli.live import fitted, lines, opened, view
from lmdp.cli.run_log import RunLog
from lmdp.page.security import tokens
from running import PROGRAM, call, environment, started, until

RUNNING: dict[str, Any] = {
    "pid": 4711,
    "broker": "127.0.0.1:35397",
    "topic": "lm.metrics.otlp",
    "page": "http://127.0.0.1:8088",
    "simulating": True,
    "uptimeSeconds": 3725.4,
    "rowsPerSecond": 1192.94,
    "messagesPerSecond": 201.3,
    "lag": 18,
    "gaps": 0,
    "trouble": "",
    "lastTrouble": None,
    "report": {"published": 12266, "messages": 12185, "rows": 72171, "latencyMs": {"p50": 512, "p99": 897}},
}
STATUS: dict[str, Any] = {
    "running": RUNNING,
    "warehouse": ".lmdp/warehouse.duckdb",
    "rows": 306041,
    "rejects": 3,
    "rejectsByReason": {"Decode.Malformed": 2, "Row.MissingField": 1},
    "gaps": 0,
    "oldest": None,
    "newest": "2026-11-23T15:53:34+00:00",
    "freshnessSeconds": 1.3,
    "sizeBytes": 24882479,
    "freeBytes": 77350752256,
    "daysLeftOnDisk": 8.0,
    "duplicates": 0,
    "missing": 0,
    "holes": 0,
    "clock": {"ahead": 0, "expired": 0},
}


def test_a_run_at_work() -> None:
    """The path with its counts, and a line for each figure."""
    assert lines(STATUS) == [
        "running     pid 4711 for 1:02:05",
        "source      lm.metrics.otlp at 127.0.0.1:35397 (with simulated devices)",
        "page        http://127.0.0.1:8088",
        "",
        "                published          consumed              rows",
        "this run           12,266  →         12,185  →         72,171",
        "per second                              201             1,193",
        "",
        "lag         18 messages behind",
        "latency     p50 512 ms, p99 897 ms, from Kafka to the warehouse",
        "all runs    306,041 rows in the warehouse",
        "freshness   1.3 s since the newest row was measured",
        "rejects     3: 2 Decode.Malformed, 1 Row.MissingField",
        "warehouse   .lmdp/warehouse.duckdb: 25 MB, 77 GB free, full in 8.0 days",
        "trouble     none",
    ]


def changed(running: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    """The status with other values."""
    return STATUS | status | ({"running": RUNNING | running} if running is not None else {})


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (changed({"trouble": "Kafka is away.\nIt is tried again."}), "trouble     Kafka is away. It is tried again."),
        (changed({"trouble": "\x1b[2Jgone"}), "trouble     \\x1b[2Jgone"),
        (changed({"warning": "All 2 messages rejected."}), "trouble     All 2 messages rejected."),
        (changed({"page": None}), "page        none"),
        (changed({"simulating": False}), "source      lm.metrics.otlp at 127.0.0.1:35397"),
        (changed(gaps=20), "LOST        20 messages expired before they were read; the table GAPS lists them"),
        (changed(freshnessSeconds=None), "freshness   \u2013 since the newest row was measured"),
        (changed(rejects=0, rejectsByReason={}), "rejects     0"),
        (changed(daysLeftOnDisk=None), "warehouse   .lmdp/warehouse.duckdb: 25 MB, 77 GB free"),
        (changed(daysLeftOnDisk=812.0), "warehouse   .lmdp/warehouse.duckdb: 25 MB, 77 GB free"),
        (
            changed(clock={"ahead": 3, "expired": 0}),
            "CLOCK       3 rows are dated more than a day ahead: a sender's clock is wrong",
        ),
        (
            changed(duplicates=3, missing=2, holes=1),
            "WRONG       3 duplicate rows, 2 missing rows, 1 skipped messages; look: lmdp doctor --only local",
        ),
    ],
)
def test_each_figure_has_its_line(status: dict[str, Any], line: str) -> None:
    """One line each, without what moves a terminal."""
    assert line in lines(status)


def test_trouble_that_is_over_is_still_told() -> None:
    """When it was, and what."""
    told = lines(changed({"lastTrouble": {"atMs": 1795450461604, "text": "Kafka is\naway"}}))[-1]
    assert re.fullmatch(r"trouble     none now; at \d\d:\d\d:\d\d: Kafka is away", told)


def test_nothing_jumps_when_numbers_grow() -> None:
    """Lines and columns stay where they are from the first row to billions, with trouble or without."""
    small = changed({"rowsPerSecond": 0.0, "messagesPerSecond": 0.0, "lag": 0}, rows=0)
    large = changed(
        {"rowsPerSecond": 1e6, "trouble": "away"}, rows=10**9, rejectsByReason={f"R.{n}": n for n in range(99)}
    )
    before, after = lines(small), lines(large)
    assert len(before) == len(after)
    assert [line[:12] for line in before] == [line[:12] for line in after]
    assert [len(line) for line in before[4:6]] == [len(line) for line in after[4:6]] == [61, 61]


@pytest.mark.parametrize(
    ("status", "fault", "first", "count"),
    [
        (changed(running=None) | {"running": None}, "", "not running; `lmdp run` starts it", 5),
        (STATUS, "the run does not answer\nLook.", "the run does not answer Look.", 5),
        (None, "there is no warehouse", "there is no warehouse", 1),
    ],
)
def test_without_a_run(status: dict[str, Any] | None, fault: str, first: str, count: int) -> None:
    """What the warehouse holds, or why nothing is known."""
    told = lines(status, fault)
    assert (told[0], len(told)) == (first, count)


def test_the_commands_name_the_home() -> None:
    """Pasted as they are shown, they ask the run of this home; none starts one without its options."""
    status = changed() | {
        "running": None,
        "rows": 0,
        "rejects": 2,
        "missing": 3,
        "warehouse": "/srv/a b/warehouse.duckdb",
    }
    drawn = lines(status, home=Path("/srv/a b"))
    assert drawn[0] == "not running; `lmdp run --home '/srv/a b'`, with its other options, starts it"
    assert drawn[-2].endswith("look: lmdp doctor --home '/srv/a b' --only local")
    assert drawn[-1].endswith("do: lmdp replay warehouse --home '/srv/a b' --dry-run")


def test_the_end_of_a_run_names_the_home(capsys: pytest.CaptureFixture[str]) -> None:
    """A run that lacks rows names the check of its own home."""
    counts = {"messages": 1, "rows": 1, "rejectedMessages": 0, "duplicates": 0, "missing": 1, "holes": 0, "gaps": 0}
    clock = {"ahead": 0, "expired": 0}
    report = {**counts, "warehouse": "w", "firstReject": None, "clock": clock, "warning": None}
    RunLog().summary(report, Path("/srv/lmdp"))
    assert "1 rows are missing, 0 messages were skipped; next: lmdp doctor --home /srv/lmdp --only local" in (
        capsys.readouterr().err
    )


def test_a_terminal_has_the_page_with_its_token(tmp_path: Path) -> None:
    """The owner opens what is shown; what programs read stays without it."""
    found = opened(STATUS, tmp_path)
    assert found == STATUS
    token = tokens(tmp_path).page
    assert f"page        http://127.0.0.1:8088/?token={token}" in lines(opened(STATUS, tmp_path))
    assert token not in json.dumps(STATUS)
    assert opened({**STATUS, "running": None}, tmp_path)["running"] is None


def test_a_narrow_terminal_cuts_lines() -> None:
    """A line that wrapped would let the next picture begin in the wrong place."""
    console = Console(width=40, color_system=None)
    shown = ["".join(part.text for part in line).rstrip() for line in console.render_lines(view(STATUS))]
    assert [line[:38].rstrip() for line in shown] == [line[:38].rstrip() for line in lines(STATUS)]
    assert max(map(len, shown)) == 40


SMALL = changed({"trouble": "Kafka at 127.0.0.1:35397 does not answer: the connection was refused"})


@pytest.mark.parametrize(
    ("width", "height", "shown"),
    [
        (
            48,
            10,
            [
                "running     pid 4711 for 1:02:05",
                "            published    consumed        rows",
                "this run       12,266 →    12,185 →    72,171",
                "per second                    201       1,193",
                "lag         18 messages behind",
                "all runs    306,041 rows in the warehouse",
                "freshness   1.3 s since the newest row was measured",
                "rejects     3: 2 Decode.Malformed, 1 Row.MissingField",
                "trouble     Kafka at 127.0.0.1:35397 does not",
                "            answer: the connection was refused",
            ],
        ),
        (
            30,
            5,
            [
                "lag         18 messages behind",
                "rejects     3: 2 Decode.Malformed, 1 Row.MissingField",
                "trouble     Kafka at",
                "            127.0.0.1:35397",
                "            does not [...]",
            ],
        ),
        (100, 1, ["trouble     Kafka at 127.0.0.1:35397 does not answer: the connection was refused"]),
    ],
)
def test_a_small_terminal_keeps_what_matters(width: int, height: int, shown: list[str]) -> None:
    """Figures come before names, faults are wrapped, and what matters least is left out first."""
    assert fitted(lines(SMALL, width=width), width, height) == shown
    assert view(SMALL, size=ConsoleDimensions(width, height + 1)).plain.splitlines() == shown


def test_a_narrow_terminal_has_the_figures_before_the_path() -> None:
    """The size of the warehouse is not cut off by its name; two stations are shown where three do not fit."""
    drawn = lines(STATUS, width=40)
    assert "warehouse   25 MB, 77 GB free, full in 8.0 days: .lmdp/warehouse.duckdb" in drawn
    assert "this run       12,185 →    72,171" in drawn


class Terminal:
    """A program on a terminal of 100 columns, and all that it wrote there."""

    def __init__(self, *words: str, folder: Path, **env: str) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self._ours, self.written = ours, b""
        given = environment(TERM="xterm", **env)
        for name in ("COLUMNS", "LINES"):  # of the terminal in which the tests run; they win over this one's size
            given.pop(name, None)
        self.program = subprocess.Popen(
            [*PROGRAM, *words],
            cwd=folder,
            env=given,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self._ours, 65_536)
            except OSError:  # Linux says so when the other end is closed
                return
            if not piece:
                return
            self.written += piece

    def shows(self, pattern: str) -> bool:
        """Whether it was ever there."""
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.written.decode(errors="replace"))
        return re.search(pattern, text) is not None

    def resize(self, height: int, width: int) -> None:
        """Give the terminal another size."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def types(self, text: str) -> None:
        """Type at the terminal."""
        os.write(self._ours, text.encode())

    def end(self, seconds: float = 30) -> int:
        """Ctrl-C's signal; the exit code."""
        self.program.send_signal(signal.SIGINT)
        return self.wait(seconds)

    def wait(self, seconds: float = 60) -> int:
        """Its exit code, once all that it wrote was read."""
        code = self.program.wait(seconds)
        self._reader.join(5)
        os.close(self._ours)
        return code


def test_run_draws_on_a_terminal_and_ends_cleanly(tmp_path: Path) -> None:
    """The view is drawn again and again, gives room to the last words, and leaves the terminal with its cursor."""
    terminal = Terminal("run", "--broker", "memory", "--simulate", "2", "--interval", "0.5", folder=tmp_path)
    try:
        until(lambda: terminal.shows(r"this run +[1-9][\d,]* +→ +[1-9][\d,]* +→ +[1-9]"), 60)
        until(lambda: terminal.written.count(b"per second") > 2, 60)
        terminal.resize(12, 60)
        until(lambda: b"\x1b[2J" in terminal.written, 60)
        until(lambda: b"trouble" in terminal.written.rpartition(b"\x1b[2J")[2], 60)
        again = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", terminal.written.rpartition(b"\x1b[2J")[2]).decode()
        assert "rejects" in again
        assert max(map(len, again.split("trouble")[0].splitlines())) <= 60
    finally:
        code = terminal.end()
    assert code == 0
    assert terminal.shows(r"ended: [\d,]+ messages, [\d,]+ rows, 0 rejects, 0 duplicates")
    assert terminal.written.rfind(b"\x1b[?25h") > terminal.written.rfind(b"\x1b[?25l") > -1
    last = terminal.written.rfind(b"trouble")
    assert terminal.written[last:].count(b"\x1b[1A") >= 12 - 2  # it wiped itself away, but for the line of the cursor


def test_watch_goes_on_through_a_restart(tmp_path: Path) -> None:
    """Before the first run, while it runs, after its end, and while the next one runs; Ctrl-C ends it with 0."""
    run = ["run", "--broker", "memory", "--simulate", "1", "--interval", "0.5"]
    terminal = Terminal("status", "--watch", folder=tmp_path)
    try:
        until(lambda: terminal.shows("there is no warehouse"), 60)
        pids = []
        for _ in range(2):
            with started(*run, folder=tmp_path) as program:
                pids.append(program.pid)
                until(lambda: terminal.shows(rf"running +pid {pids[-1]} "), 60)
                program.send_signal(signal.SIGTERM)
                program.wait(30)
            over = terminal.written.count(b"not running")
            until(lambda: terminal.written.count(b"not running") > over, 60)  # noqa: B023 - it ends before the next turn
    finally:
        code = terminal.end()
    assert code == 0


def test_watch_elsewhere_prints_what_a_program_reads(tmp_path: Path) -> None:
    """One JSON object a line, again every two seconds, the same that status gives."""
    call("run", "--broker", "memory", "--simulate", "1", "--interval", "0.5", "--duration", "1", folder=tmp_path)
    once = json.loads(call("status", "--json", folder=tmp_path).out)
    with started("status", "--watch", "--json", folder=tmp_path) as watching:
        assert watching.stdout is not None
        begun = time.monotonic()
        first, second = json.loads(watching.stdout.readline()), json.loads(watching.stdout.readline())
        took = time.monotonic() - begun
        watching.send_signal(signal.SIGTERM)
        assert watching.wait(30) == 0
    assert took > 1.9
    for found in (first, second):
        assert found.keys() == once.keys()
        assert (found["running"], found["rows"]) == (None, once["rows"])
    assert second["freshnessSeconds"] > first["freshnessSeconds"]


def test_a_run_to_snowflake_shows_its_channels() -> None:
    """What only a file has is left out; rows that Snowflake refused are shown as wrong."""
    snowflake = {"channels": 4, "bytesInFlight": 1_200_000, "rowsRefused": 0, "lastError": None, "rejectsIn": "r"}
    status = {**STATUS, "running": RUNNING, "warehouse": "snowflake://x/D.S.P", "snowflake": snowflake}
    drawn = "\n".join(lines(status))
    assert re.search(r"inserted +[\d,]+ rows of this run, through 4 channels", drawn)
    assert re.search(r"in flight +1.2 MB accepted and not committed", drawn)
    assert "freshness" not in drawn
    assert "WRONG" not in drawn
    refused = {**status, "snowflake": {**snowflake, "rowsRefused": 3, "lastError": "a cast"}}
    assert re.search(
        r"WRONG +3 rows were refused by Snowflake \(a cast\): lmdp snowflake errors", "\n".join(lines(refused))
    )
