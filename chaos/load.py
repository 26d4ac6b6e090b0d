"""More than was planned for: it makes lag, not loss, in flat memory."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.scenario import Outcome, Scenario, Site, broken
from chaos.watched import Books, ask, beside, bundles, watched
from lmdp.core.pipeline import Message, TransformSettings, transform
from lmdp.errors import LmdpError, RunNotFoundError
from lmdp.machine.api import client
from lmdp.machine.api.protocol import Query, socket_path
from lmdp.support.reject_files import write_to_folder
from running import lmdp, options, publish, rows, started, until

_MIB = 2**20
_POOL = 256 * _MIB  # what DuckDB may have in memory, of the file and for questions


def run_words(site: Site, topic: str, *more: str) -> list[str]:
    """The command line of a run on the site's Kafka."""
    return ["run", *options(site.broker.access), "--topic", topic, "--json", *more]


def ended(program: Any, seconds: float) -> dict[str, Any]:
    """A run's report at its end; a run that does not end well has none."""
    out, _ = program.communicate(timeout=seconds)
    assert program.returncode == 0, f"it ended with {program.returncode}"
    report: dict[str, Any] = json.loads(out)
    return report


def _rendered(asked: list[float]) -> str:
    return f"asked {len(asked)} times meanwhile, answered within {max(asked, default=0):.1f} s"


def backlog(site: Site) -> Outcome:
    """Millions of rows in large bundles are there before the run is; its memory is watched while it reads them."""
    count, each = site.by_size(200_000, 2_000_000, 20_000_000), 500
    folder, topic = site.folder(), site.new_topic(4)
    home = folder / ".lmdp"
    publish(site.broker.access, topic, bundles(count, each))
    asked: list[float] = []
    with started(*run_words(site, topic, "--until-idle"), folder=folder) as program:
        until((home / "run.sock").exists, 60)
        with watched(program.pid, home) as watch, beside(lambda: ask(home, asked), 1):
            report = ended(program, 3_000)
    books = Books.of(home)
    early, late, peak = *watch.usual(count // 10), watch.peak(0, count + 1)
    return Outcome(
        times=1,
        messages=-(-count // each),
        expected_rows=count,
        found_rows=books.rows - books.repeats,
        repeats=books.repeats,
        rejects=books.rejects,
        measured=f"memory {early // _MIB} MiB after a tenth, {late // _MIB} at the end, {peak // _MIB} at most; "
        f"{report['rowsPerSecond']:,.0f} rows/s; {_rendered(asked)}",
        broken=broken(
            {
                "other rows are there, or LOADS says otherwise": books.adds_up(count),
                "the report has duplicates": report["duplicates"] == 0,
                "it was hardly watched": min(early, late) > 0,
                # What DuckDB keeps of a large file fills its own memory in the end.
                "memory grew by more than a quarter": late <= 1.25 * early or count > 2_000_000,
                "memory grew by more than DuckDB may have": peak <= early + _POOL,
                "it could not be asked meanwhile": bool(asked),
            }
        ),
    )


def rush(site: Site) -> Outcome:
    """200 devices, polled every minute, send ten times what they do, in bursts; afterwards nobody sends any more."""
    instances, seconds = site.by_size(20, 60), site.by_size(6, 18, 120)
    folder, topic = site.folder(), site.new_topic(4)
    home = folder / ".lmdp"
    words = (
        "--simulate",
        "200",
        "--instances",
        str(instances),
        "--interval",
        "6",
        "--duration",
        str(seconds),
        "--burst",
    )
    asked: list[float] = []
    with started(*run_words(site, topic, "--org-id", "acme"), folder=folder) as program:
        until((home / "run.sock").exists, 60)
        with watched(program.pid, home) as watch, beside(lambda: ask(home, asked), 1):
            done = lmdp(
                "publish", *words, *options(site.broker.access), "--topic", topic, "--json", folder=folder, seconds=900
            )
            published = json.loads(done.stdout)
            until(lambda: client.snapshot(home)["live"]["messages"] >= published["published"], 900)
            until(lambda: not sum(client.snapshot(home)["live"]["lag"].values()), 60)
        program.terminate()
        report = ended(program, 60)
    planned = 200 * instances / 60
    times = published["published"] / published["seconds"] / planned
    lag = max(one.lag for one in watch.seen)
    (found,) = rows(
        home,
        "select (select count(*) from row_events) as n, (select sum(ROWS)::bigint from loads) as l,"
        " (select sum(NEXT_OFFSET - FIRST_OFFSET)::bigint from loads) as m",
    )
    return Outcome(
        times=round(published["published"] / (200 * instances)),
        messages=published["published"],
        expected_rows=published["publishedDatapoints"] - sum(report["dropped"].values()),
        found_rows=found["n"],
        repeats=report["duplicates"],
        rejects=report["rejectedMessages"],
        measured=f"{times:.0f} times the planned rate, at most {lag:,} messages behind when asked, then 0; "
        f"{_rendered(asked)}",
        broken=broken(
            {
                "it was no rush": times >= 10,
                "other messages were read": report["messages"] == found["m"] == published["published"],
                "LOADS does not add up": found["l"] == found["n"] == report["rows"],
                "datapoints became neither rows nor drops": report["datapoints"] == published["publishedDatapoints"],
                "a message was lost to the topic's retention": "LOST" not in (folder / "stderr").read_text(),
                "it could not be asked meanwhile": bool(asked),
            }
        ),
    )


def flood(site: Site) -> Outcome:
    """Rows of 20 and of 40 days ago come in a flood, and both kinds of failures are replayed, beside a live stream."""
    count, each = site.by_size(5_000, 20_000, 500_000), 50  # of each kind
    folder, topic = site.folder(), site.new_topic(4)
    home, access = folder / ".lmdp", site.broker.access
    publish(access, topic, bundles(count, each, tenant=False))
    first = json.loads(lmdp(*run_words(site, topic, "--until-idle"), folder=folder, seconds=600).stdout)
    _rejected(folder / "rejects", bundles(count, each, count, tenant=False))
    asked: list[float] = []
    replayed = []
    with started(*run_words(site, topic), folder=folder) as program:
        until((home / "run.sock").exists, 60)
        late = [bundles(count, each, (3 + n) * count, days_ago=20 * n + 20) for n in (0, 1)]
        streams = [
            threading.Thread(target=publish, args=(access, topic, values))
            for values in (_slowly(bundles(count, each, 2 * count)), itertools.chain(*late))
        ]
        with watched(program.pid, home) as watch, beside(lambda: ask(home, asked), 0.5):
            for stream in streams:
                stream.start()
            for source in ("warehouse", "rejects"):
                done = lmdp("replay", source, "--org-id", "acme", "--json", folder=folder, seconds=600)
                replayed.append(json.loads(done.stdout or "{}"))
            for stream in streams:
                stream.join()
            until(lambda: watch.rows() >= 3 * count, 600)
        program.terminate()
        ended(program, 60)
    books = Books.of(home)
    again = lmdp(*run_words(site, topic, "--until-idle"), folder=folder, seconds=120)
    after = Books.of(home)
    return Outcome(
        times=2 * count,
        messages=5 * count // each,
        expected_rows=5 * count,
        found_rows=books.rows - books.repeats,
        repeats=books.repeats,
        rejects=books.rejects,
        measured=f"{2 * count:,} rows replayed, at most {max(one.lag for one in watch.seen):,} messages behind; "
        f"{count:,} beyond --keep were there until the next removal; {_rendered(asked)}",
        broken=broken(
            {
                "nothing had been rejected": first["rejectedMessages"] == count // each,
                "a replay did not do all": [one.get("rows") for one in replayed] == [count, count],
                "other rows are there, or LOADS says otherwise": books.adds_up(5 * count),
                "the removal took other rows": after.rows == after.loads == 4 * count and after.repeats == 0,
                "the removal was not said": f"removed {count:,} rows" in again.stderr.decode(),
                "there are duplicates after it": json.loads(again.stdout)["duplicates"] == 0,
                "it could not be asked meanwhile": bool(asked),
            }
        ),
    )


def killed_replay(site: Site) -> Outcome:
    """A replay through a run, and that run, are killed in turn while pages and objects go over; then both end."""
    kills, count = site.by_size(4, 16), site.by_size(3_000, 12_000)  # failures of each kind
    folder, topic, chance = site.folder(), site.new_topic(4), random.Random(11)
    home, access = folder / ".lmdp", site.broker.access
    publish(access, topic, bundles(count, 1, tenant=False))
    lmdp(*run_words(site, topic, "--until-idle"), folder=folder, seconds=600)
    _rejected(folder / "rejects", bundles(count, 1, count, tenant=False), each=50)
    hits = {"run": 0, "replay": 0}
    for turn in range(kills):
        victim = ("run", "replay")[turn % 2]
        publish(access, topic, bundles(100, 10, 2 * count + 100 * turn))
        hits[victim] += _killed(site, topic, folder, victim, ("warehouse", "rejects")[turn // 2 % 2], chance)
    total = 2 * count + 100 * kills
    (home / "run.sock").unlink(missing_ok=True)
    with started(*run_words(site, topic), folder=folder) as program:
        until((home / "run.sock").exists, 60)
        done = [lmdp("replay", one, "--org-id", "acme", folder=folder, seconds=600) for one in ("warehouse", "rejects")]
        until(lambda: Books.of(home).rows >= total, 120)
        program.terminate()
        report = ended(program, 60)
    books = Books.of(home)
    return Outcome(
        times=sum(hits.values()),
        messages=2 * count + 10 * kills,
        expected_rows=total,
        found_rows=books.rows - books.repeats,
        repeats=books.repeats,
        rejects=books.rejects,
        measured=f"killed within its work: the run {hits['run']} times, the replay {hits['replay']} times",
        broken=broken(
            {
                "hardly anything was interrupted": min(hits.values()) >= kills // 4,
                "a replay did not end with 0": [one.returncode for one in done] == [0, 0],
                "other rows are there, or LOADS says otherwise": books.adds_up(total),
                "rejects are left": books.rejects == 0,
                "objects are left": not [
                    1 for one in (folder / "rejects").rglob("*.gz") if "replayed" not in one.parts
                ],
                "the report has duplicates": report["duplicates"] == 0,
                "a traceback was printed": "Traceback" not in (folder / "stderr").read_text(),
            }
        ),
    )


def _killed(site: Site, topic: str, folder: Path, victim: str, source: str, chance: random.Random) -> bool:
    """Start a run and a replay through it, and kill one of them once rows have come; whether it was at work then."""
    home = folder / ".lmdp"
    (home / "run.sock").unlink(missing_ok=True)
    with started(*run_words(site, topic), folder=folder) as program:
        until((home / "run.sock").exists, 60)

        def replayed() -> int:
            return int(
                rows(home, "select coalesce(sum(ROWS), 0)::bigint as n from loads where cluster = 'replay'")[0]["n"]
            )

        before = replayed()
        with started("replay", source, "--org-id", "acme", folder=folder) as replay:
            until(lambda: replayed() > before or replay.poll() is not None, 60)
            time.sleep(chance.uniform(0.0, 0.4))
            at_work = replay.poll() is None
            (program if victim == "run" else replay).kill()
            if victim == "run":
                program.wait()
                code = replay.wait(60)
                assert not at_work or code in {0, 3}, f"without its run, the replay ended with {code}"
    return at_work


def many_queries(site: Site) -> Outcome:
    """The same backlog is read twice: in quiet, and beside 20 who ask, one who reads slowly and 200 who say nothing."""
    count, each = site.by_size(60_000, 300_000), 100
    topic = site.new_topic(4)
    publish(site.broker.access, topic, bundles(count, each))
    seen, books = [], []
    crowd = Crowd()
    for loud in (False, True):
        folder = site.folder()
        home = folder / ".lmdp"
        with started(*run_words(site, topic), folder=folder) as program:
            until((home / "run.sock").exists, 60)
            with watched(program.pid, home) as watch, crowd.at(home) if loud else contextlib.nullcontext():
                until(lambda: program.poll() is not None or (watch.rows() >= count and crowd.has_asked(loud)), 1_200)  # noqa: B023 - called at once
            program.terminate()
            ended(program, 120)
        seen.append(watch)
        books.append(Books.of(home))
    quiet, noisy = seen
    return Outcome(
        times=crowd.answered + crowd.silent,
        messages=count // each,
        expected_rows=2 * count,
        found_rows=sum(one.rows - one.repeats for one in books),
        repeats=sum(one.repeats for one in books),
        rejects=sum(one.rejects for one in books),
        measured=f"{noisy.rate() / quiet.rate():.0%} of the rate without queries, "
        f"{noisy.peak(0, 2 * count) // _MIB} MiB at most (in quiet {quiet.peak(0, 2 * count) // _MIB}); "
        f"{crowd.answered} answers, {crowd.silent} silent connections",
        broken=broken(
            {
                "other rows are there, or LOADS says otherwise": all(one.adds_up(count) for one in books),
                "the consumer was stuck": noisy.rate() >= 0.1 * quiet.rate(),
                "its memory grew beyond what questions may use": noisy.peak(0, 2 * count)
                <= quiet.peak(0, 2 * count) + _POOL,
                "threads were not bounded": max(one.threads for one in noisy.seen) <= 64 + 40,
                "nobody was answered": crowd.answered >= 20,
                "it hardly had silent ones": crowd.silent >= 200,
            }
        ),
    )


@dataclass(slots=True)
class Crowd:
    """Those who ask a run: `answered` questions, and `silent` connections on which nothing was said."""

    answered: int = 0
    silent: int = 0

    def has_asked(self, loud: bool) -> bool:
        """Return whether they were there at all."""
        return not loud or (self.answered >= 20 and self.silent >= 200)

    @contextlib.contextmanager
    def at(self, home: Path) -> Iterator[None]:
        """Ask the run of `home` beside the block."""
        with contextlib.ExitStack() as all_of_them:
            all_of_them.enter_context(beside(lambda: self._say_nothing(home)))
            all_of_them.enter_context(beside(lambda: _read_slowly(home)))
            for _ in range(20):
                all_of_them.enter_context(beside(lambda: self._ask(home), 0.1))
            yield

    def _ask(self, home: Path) -> None:
        with contextlib.suppress(LmdpError, RunNotFoundError):
            client.query_run(home, Query("select metric, count(*), max(value) from metrics group by 1"))
            self.answered += 1

    def _say_nothing(self, home: Path) -> None:
        with contextlib.ExitStack() as held, contextlib.suppress(OSError):
            for _ in range(200):
                line = held.enter_context(socket.socket(socket.AF_UNIX))
                line.connect(str(socket_path(home)))
                self.silent += 1
            time.sleep(2)


def _read_slowly(home: Path) -> None:
    """Ask for a million rows, and read a few kilobytes a second for a while."""
    body = json.dumps({"sql": "select * from range(1000000)", "limitRows": 1_000_000}).encode()
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as line:
        line.settimeout(5)
        line.connect(str(socket_path(home)))
        line.sendall(b"POST /query HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        for _ in range(50):
            line.recv(1024)
            time.sleep(0.1)


def _slowly(values: Iterable[bytes]) -> Iterator[bytes]:
    for value in values:
        yield value
        time.sleep(0.02)


def _rejected(folder: Path, values: Iterable[bytes], each: int = 10) -> None:
    """Write what these messages reject, so many an object, as `lmdp run --rejects` does."""
    messages = [Message(value, "elsewhere", 0, n) for n, value in enumerate(values)]
    for start in range(0, len(messages), each):
        write_to_folder(folder, transform(messages[start : start + each], TransformSettings()).rejects, 1)


SCENARIOS = (
    Scenario("backlog", "A backlog is read in flat memory, each row once.", backlog),
    Scenario("ten times the rate", "More than was planned for makes lag, not loss, and the lag goes.", rush),
    Scenario("replay killed", "A replay through a run writes each failure once, whoever is killed.", killed_replay),
    Scenario("many queries at once", "Whatever is queried, and however, ingestion continues.", many_queries),
    Scenario("late flood and replay", "Old rows and replayed ones come beside live ones, each once.", flood),
)
