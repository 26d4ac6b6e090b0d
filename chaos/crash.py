"""Whatever is killed, whenever: each row is there once."""

from __future__ import annotations

import contextlib
import functools
import json
import random
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any

import psutil

from chaos.books import Books, books, numbers
from chaos.publishing import publishing
from chaos.scenario import Outcome, Scenario, Site, broken
from lmdp.core.specification import load_spec
from lmdp.errors import LmdpError
from lmdp.machine.api import client
from lmdp.machine.embedded_kafka.broker import running_access
from lmdp.machine.warehouse.warehouse import Warehouse
from running import bundle, expected, lmdp, options, publish, rows, started, until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lmdp.machine.kafka.access import KafkaAccess

_UP_S = 180  # for a Kafka to be up, on a machine that does other things too


COUNT = "select count(*) as n from row_events"


def _further(home: Path, before: int, end: int) -> bool:
    """Return whether more rows are there than before, or all."""
    with contextlib.suppress(LmdpError):
        return int(rows(home, COUNT)[0]["n"]) > min(before, end - 1)
    return False


def killed_consumer(site: Site, size: tuple[int, int] | None = None) -> Outcome:
    """SIGKILL of `lmdp run` before, within and between transactions over one backlog; then it ends by itself."""
    kills, messages = size or site.by_size((10, 120_000), (50, 240_000))
    folder, topic, chance = site.folder(), site.new_topic(4), random.Random(7)
    home = folder / ".lmdp"
    publish(site.broker.access, topic, map(bundle, range(messages)))
    words = ("run", *options(site.broker.access), "--topic", topic, "--org-id", "acme", "--until-idle", "--json")
    seen = [0]
    for turn in range(kills):
        (home / "run.sock").unlink(missing_ok=True)
        with started(*words, folder=folder) as program:
            until(lambda: (home / "run.sock").exists() or program.poll() is not None)  # it may have ended already
            if turn % 3 == 0:  # when it has written, however fast or slow it is here; else at any time
                until(functools.partial(_further, home, seen[-1], messages))
            time.sleep(chance.uniform(0.0, 0.6))
            program.send_signal(signal.SIGKILL)
            program.wait()
        seen.append(int(rows(home, COUNT)[0]["n"]))
    assert len({count for count in seen if 0 < count < messages}) >= 2, "it was not killed in the midst of its work"
    done = lmdp(*words, folder=folder, seconds=300)
    instances = [row["i"] for row in rows(home, 'select "instance" as i from row_events')]
    report = json.loads(done.stdout)
    (loads,) = rows(home, "select sum(ROWS)::INT as r, sum(NEXT_OFFSET - FIRST_OFFSET)::INT as m from loads")
    return Outcome(
        times=kills,
        messages=messages,
        expected_rows=messages,
        found_rows=len(set(instances)),
        repeats=len(instances) - len(set(instances)),
        rejects=report["rejectedMessages"],
        broken=broken(
            {
                "it did not end with 0": done.returncode == 0,
                "rows went back": seen == sorted(seen),
                "other rows are there": sorted(set(instances)) == expected(range(messages)),
                "LOADS does not add up": loads == {"r": messages, "m": messages},
                "the report has duplicates": report["duplicates"] == 0,
                "a traceback was printed": "Traceback" not in (folder / "stderr").read_text(),
            }
        ),
    )


def killed_broker(site: Site) -> Outcome:
    """SIGKILL of the Kafka of `lmdp run`, of what guards it, and of both, while others and the run publish to it."""
    seconds = site.by_size(22, 65)
    folder, chance = site.folder(), random.Random(8)
    home, kinds = folder / ".lmdp", [("java",), ("guard",), ("java", "guard")]
    words = ("run", "--simulate", "10", "--interval", "1", "--duration", str(seconds), "--topic", "t", "--json")
    killed: list[tuple[str, ...]] = []
    with started(*words, "--org-id", "acme", folder=folder) as program:
        access = _up(home, program)
        until(lambda: client.status(home)["running"]["broker"], _UP_S)  # in its first start it would end the run
        ends = time.monotonic() + seconds
        with publishing(access, "t", rate=300) as sent:
            while not killed or (len(killed) < 3 * len(kinds) and time.monotonic() < ends - 20):
                time.sleep(chance.uniform(0.5, 3.0))
                before = _java(program)
                killed.append(_kill(program, kinds[len(killed) % len(kinds)]))
                until(functools.partial(_is_another, program, before), _UP_S)
                _up(home, program)
            sent.end()
        out, _ = program.communicate(timeout=seconds + 2 * _UP_S)
    report = json.loads(out)
    there = functools.partial(rows, home)
    found, kept = books(there), numbers(there)
    reported = (folder / "stderr").read_text()
    simulated = report["messages"] - found.numbered
    return Outcome(
        times=len(killed),
        messages=report["messages"],
        expected_rows=len(sent.acknowledged) + report["rows"] - found.numbered,
        found_rows=len(kept & sent.acknowledged) + found.rows - found.numbered,
        repeats=found.repeats + report["duplicates"],
        rejects=report["rejectedMessages"],
        measured=f"{', '.join('+'.join(kind) for kind in killed)}; {report['published']:,} published by the run",
        broken=broken(
            {
                "it did not end with 0": program.returncode == 0,
                "other messages than the run published": (
                    report["published"] <= simulated <= report["published"] + report["unacknowledged"]
                ),
                "LOADS or OFFSETS do not add up": found.is_whole() and found.messages == report["messages"],
                "rows that nobody sent": kept <= set(range(sent.sent)),
                "it reports a loss": report["gaps"] == 0,
                "it did not say that Kafka had ended": reported.count("has ended") >= 1,
                "a traceback was printed": "Traceback" not in reported,
            }
        ),
    )


def killed_both(site: Site) -> Outcome:
    """SIGKILL of `lmdp run`, its Kafka and what guards it, all at once, over one home; another one resumes."""
    kills = site.by_size(1, 3)
    folder, chance = site.folder(), random.Random(9)
    home = folder / ".lmdp"
    words = ("run", "--simulate", "0", "--topic", "t", "--org-id", "acme", "--json")
    with contextlib.ExitStack() as parts:
        sent = None
        for _ in range(kills):
            (home / "run.sock").unlink(missing_ok=True)
            with started(*words, folder=folder) as program:
                access = _up(home, program)
                sent = sent or parts.enter_context(publishing(access, "t", rate=500))
                time.sleep(chance.uniform(1.0, 4.0))
                _kill(program, ("run", "java", "guard"))
                program.wait()
        assert sent is not None
        (home / "run.sock").unlink(missing_ok=True)
        with started(*words, folder=folder) as program:
            assert _up(home, program) == access, "the port has changed"
            sent.end()
            until(lambda: books(functools.partial(rows, home)).numbers >= len(sent.acknowledged), _UP_S)
            program.send_signal(signal.SIGINT)
            out, _ = program.communicate(timeout=_UP_S)
    report = json.loads(out)
    there = functools.partial(rows, home)
    found, kept = books(there), numbers(there)
    return Outcome(
        times=kills,
        messages=found.messages,
        expected_rows=len(sent.acknowledged),
        found_rows=len(kept & sent.acknowledged),
        repeats=found.repeats + report["duplicates"],
        rejects=report["rejectedMessages"],
        measured=f"{len(kept - sent.acknowledged):,} more that were never acknowledged",
        broken=broken(
            {
                "it did not end with 0": program.returncode == 0,
                "LOADS or OFFSETS do not add up": found.is_whole(),
                "rows that nobody sent": kept <= set(range(sent.sent)),
                "nothing came between two kills": len(sent.acknowledged) > 100 * kills,
                "it reports a loss": report["gaps"] == 0,
                "a traceback was printed": "Traceback" not in (folder / "stderr").read_text(),
            }
        ),
    )


def power_cut(site: Site) -> Outcome:
    """Copies of the file and its log, taken while the run that writes them is stopped, whole and torn."""
    cuts, messages = site.by_size(8, 30), site.by_size(150_000, 500_000)
    folder, topic, chance = site.folder(), site.new_topic(4), random.Random(10)
    home = folder / ".lmdp"
    publish(site.broker.access, topic, map(bundle, range(messages)))
    words = ("run", *options(site.broker.access), "--topic", topic, "--org-id", "acme", "--until-idle", "--json")
    copies: list[Path] = []
    with started(*words, folder=folder) as program:
        until(lambda: (home / "run.sock").exists() or program.poll() is not None)
        until(lambda: rows(home, "select 1 as n from loads limit 1"))
        while len(copies) < cuts and program.poll() is None:
            if len(copies) % 3 == 0:  # or all of them were of one transaction
                size = _bytes(home)
                until(lambda size=size: program.poll() is not None or _bytes(home) != size)  # type: ignore[misc]
            time.sleep(chance.uniform(0.0, 0.15))
            with _stopped(program):
                copies.append(_copied(home, folder / f"copy-{len(copies)}"))
        out, _ = program.communicate(timeout=300)
    report, there = json.loads(out), functools.partial(rows, home)
    torn = [_opened(torn) for torn in [_torn(copy, chance) for copy in copies if _log(copy).exists()]]
    whole = [_opened(copy) for copy in copies]
    found = books(there)
    sizes = [one.rows for one in whole]
    assert len({size for size in sizes if 0 < size < messages}) >= 3, f"not cut in the midst of its work: {sizes}"
    return Outcome(
        times=len(copies) + len(torn),
        messages=messages,
        expected_rows=messages,
        found_rows=found.numbers,
        repeats=found.repeats + sum(one.repeats for one in [*whole, *torn]),
        rejects=report["rejectedMessages"],
        measured=f"{len(copies)} copies of {min(sizes):,} to {max(sizes):,} rows, {len(torn)} again with the log torn",
        broken=broken(
            {
                "it did not end with 0": program.returncode == 0,
                "a copy is no whole number of transactions": all(one.is_whole() for one in whole),
                "a copy with a torn log is none": all(one.is_whole() for one in torn),
                "a later copy has fewer rows": sizes == sorted(sizes),
                "the run itself suffered": found.is_whole() and report["duplicates"] == 0,
            }
        ),
    )


def _up(home: Path, program: subprocess.Popen[bytes]) -> KafkaAccess:
    """Wait until the run answers and its Kafka too, and say how to reach that."""
    until(lambda: (home / "run.sock").exists() and running_access(home), _UP_S)
    assert program.poll() is None, "it has ended"
    access = running_access(home)
    assert access is not None
    return access


def _parts(program: subprocess.Popen[bytes]) -> dict[str, psutil.Process]:
    """The processes of a run by what they are."""
    of = {"run": psutil.Process(program.pid)}
    for child in of["run"].children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            of["guard" if any("supervisor.py" in word for word in child.cmdline()) else child.name()] = child
    return of


def _java(program: subprocess.Popen[bytes]) -> int:
    return int(_parts(program)["java"].pid)


def _is_another(program: subprocess.Popen[bytes], before: int) -> bool:
    java = _parts(program).get("java")
    return java is not None and java.pid != before


def _kill(program: subprocess.Popen[bytes], kinds: tuple[str, ...]) -> tuple[str, ...]:
    there = _parts(program)
    for kind in kinds:
        there[kind].kill()
    return kinds


@contextlib.contextmanager
def _stopped(program: subprocess.Popen[bytes]) -> Iterator[None]:
    """Stop it in the midst of whatever it does."""
    program.send_signal(signal.SIGSTOP)
    process = psutil.Process(program.pid)
    until(lambda: process.status() == psutil.STATUS_STOPPED)
    try:
        yield
    finally:
        program.send_signal(signal.SIGCONT)


def _copied(home: Path, to: Path) -> Path:
    """Copy the warehouse with all that DuckDB has beside it."""
    to.mkdir()
    for part in home.glob("warehouse.duckdb*"):
        if part.is_file():
            shutil.copy(part, to)
    return to / "warehouse.duckdb"


def _log(copy: Path) -> Path:
    return copy.with_name(f"{copy.name}.wal")


def _bytes(home: Path) -> int:
    return sum(path.stat().st_size for path in home.glob("*.duckdb*") if path.is_file())


def _torn(copy: Path, chance: random.Random) -> Path:
    """The same copy with its log cut anywhere, as a disk leaves it that had not written it all."""
    torn = copy.parent.with_name(f"{copy.parent.name}-torn")
    shutil.copytree(copy.parent, torn)
    log = _log(torn / copy.name)
    log.write_bytes(log.read_bytes()[: chance.randrange(log.stat().st_size)])
    return torn / copy.name


def _opened(copy: Path) -> Books:
    """Open a copy as a run does, look into it, and throw it away."""
    with Warehouse.open(copy, load_spec()) as opened:
        ask: Callable[[str], list[dict[str, Any]]] = lambda sql: opened.query(sql).table.to_pylist()  # noqa: E731 - for its type
        return books(ask)


SCENARIOS = (
    Scenario("consumer killed", "A killed `lmdp run` resumes with each row once.", killed_consumer),
    Scenario(
        "broker killed",
        "A killed Kafka of `lmdp run` is back by itself; what it acknowledged is there once.",
        killed_broker,
    ),
    Scenario(
        "run and broker killed",
        "All that an embedded Kafka acknowledged is there once, whatever is killed.",
        killed_both,
    ),
    Scenario(
        "power cut", "The warehouse's file opens with a whole number of transactions, whenever it was cut.", power_cut
    ),
)
