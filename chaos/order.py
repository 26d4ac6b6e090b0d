"""Partitions, topics and clocks that change: each row once, and a loss is said and counted."""

from __future__ import annotations

import functools
import json
import signal
import time
from typing import TYPE_CHECKING, Any

import psutil
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]  # it re-exports in silence

from chaos.books import asking, books, numbers
from chaos.clocks import clock_jumps
from chaos.publishing import publishing
from chaos.scenario import Outcome, Scenario, Site, broken
from chaos.set_back import broker_set_back
from lmdp.machine.api import client
from lmdp.machine.settings import ConsumeSettings
from running import Consuming, bundle, consuming, lmdp, options, publish, rows, started, until

if TYPE_CHECKING:
    import subprocess

_LONG_S = 120  # for what takes a second, on a machine that does other things too


def _words(site: Site, topic: str, *more: str) -> tuple[str, ...]:
    return ("run", *options(site.broker.access), "--topic", topic, "--org-id", "acme", "--json", *more)


def _report(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    assert done.stdout, done.stderr.decode()[-500:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def split(site: Site) -> Outcome:
    """Two runs with half of the partitions each; others try to run on the same file and in the same folder."""
    seconds, tries = site.by_size(5, 12), site.by_size(2, 6)
    folder, topic = site.folder(), site.new_topic(6)
    homes = [folder / name for name in ("a", "b")]
    words = [
        _words(site, topic, "--home", str(home), "--partitions", half)
        for home, half in zip(homes, ("0-2", "3-5"), strict=True)
    ]
    refused = []
    with started(*words[0], folder=folder) as one, started(*words[1], folder=folder) as other:
        until(lambda: all((home / "run.sock").exists() for home in homes), _LONG_S)
        with publishing(site.broker.access, topic, rate=1000) as sent:
            begun = time.monotonic()
            for at in range(tries):
                file, place = str(homes[0] / "warehouse.duckdb"), str(folder / f"c-{at}")
                same = ("--home", place, "--warehouse", file) if at % 2 else ("--home", str(homes[0]))
                refused.append(lmdp(*_words(site, topic, *same), folder=folder, seconds=_LONG_S))
            time.sleep(max(0.0, seconds - (time.monotonic() - begun)))
            sent.end()
        until(lambda: sum(client.status(home)["rows"] for home in homes) >= sent.sent, _LONG_S)
        ended = [_stopped(program) for program in (one, other)]
    found = [books(functools.partial(rows, home)) for home in homes]
    kept = [numbers(functools.partial(rows, home)) for home in homes]
    names = f"process {one.pid}".encode()
    return Outcome(
        times=len(refused),
        messages=sum(report["messages"] for report in ended),
        expected_rows=sent.sent,
        found_rows=len(kept[0] | kept[1]),
        repeats=len(kept[0] & kept[1]) + sum(one.repeats for one in found),
        rejects=sum(report["rejectedMessages"] for report in ended),
        measured=" + ".join(f"{one.rows:,}" for one in found),
        broken=broken(
            {
                "one had nothing to do": min(one.rows for one in found) > 0,
                "a second one was not refused with 3": all(done.returncode == 3 for done in refused),
                "the refusal does not name the process": all(names in done.stderr for done in refused),
                "LOADS or OFFSETS do not add up": all(one.is_whole() for one in found),
                "not everything was acknowledged": len(sent.acknowledged) == sent.sent,
                "the report has duplicates": not any(report["duplicates"] for report in ended),
            }
        ),
    )


def partitions_added(site: Site) -> Outcome:
    """A topic that grows again and again while it is written and read."""
    grown = site.by_size((4, 7), (4, 7, 9, 16, 30))
    topic, path = site.new_topic(2), site.folder() / "w.duckdb"
    admin = AdminClient(site.broker.access.config())
    with consuming(site.broker.access, path, ConsumeSettings(topic)) as run:
        with publishing(site.broker.access, topic, rate=1500) as sent:
            for count in grown:
                until(lambda: run.rows() > 0, _LONG_S)
                admin.create_partitions([NewPartitions(topic, count)])[topic].result(_LONG_S)
                until(functools.partial(run.told, f", {count - 1}"), _LONG_S)
            time.sleep(3)
            sent.end()
        return _outcome(
            run,
            len(grown),
            set(range(sent.sent)),
            {"nothing was acknowledged": bool(sent.acknowledged)},
            f"{grown[-1]} partitions in the end",
        )


def _outcome(
    run: Consuming, times: int, wanted: set[int], more: dict[str, bool], measured: str = "", lost: int = 0
) -> Outcome:
    """Wait until all that is wanted is there, and look into the warehouse."""
    ask = asking(run)
    until(lambda: run.error or books(ask).numbers >= len(wanted), _LONG_S)
    time.sleep(1.0)
    found, kept, gaps = books(ask), numbers(ask), run.warehouse.tally.exact().gaps
    return Outcome(
        times=times,
        messages=found.messages,
        expected_rows=len(wanted),
        found_rows=len(kept),
        repeats=found.repeats,
        rejects=run.progress.counts.rejected_messages,
        measured=measured,
        broken=broken(
            {
                "other rows are there": kept == wanted,
                "rows and LOADS do not add up": found.rows == found.loaded and not found.awry,
                "it reports duplicates": run.warehouse.duplicates() == 0,
                f"{gaps:,} messages are reported as lost, not {lost:,}": gaps == lost,
                **more,
            }
        ),
    )


def retention_passed(site: Site) -> Outcome:
    """Expire messages of some partitions before the consumer comes back."""
    rounds = site.by_size(2, 4)
    folder, topic = site.folder(), site.new_topic(3)
    home, admin = folder / ".lmdp", AdminClient(site.broker.access.config())
    words = _words(site, topic, "--until-idle")
    first = lmdp(*words, folder=folder, seconds=_LONG_S)  # nothing there yet: the start is kept all the same
    wanted, at, lost, ended, begun = set[int](), 0, 0, [first], [0, 0, 0]
    for turn in range(rounds):
        for partition in range(3):
            count = 40 + 300 * partition
            publish(site.broker.access, topic, map(bundle, range(at, at + count)), partition=partition)
            gone = 0 if partition == turn % 3 else 7 * (partition + 1) + turn
            wanted |= set(range(at + gone, at + count))
            if gone:
                place = TopicPartition(topic, partition, begun[partition] + gone)
                admin.delete_records([place])[place].result(_LONG_S)
            lost, at, begun[partition] = lost + gone, at + count, begun[partition] + count
        ended.append(lmdp(*words, folder=folder, seconds=_LONG_S))
    reports = [_report(done) for done in ended]
    there = functools.partial(rows, home)
    found, kept = books(there), numbers(there)
    status = json.loads(lmdp("status", "--json", folder=folder).stdout)
    reported = sum(done.stderr.count(b"LOST: ") for done in ended)
    return Outcome(
        times=2 * rounds,
        messages=sum(report["messages"] for report in reports),
        expected_rows=len(wanted),
        found_rows=len(kept & wanted),
        repeats=found.repeats,
        rejects=sum(report["rejectedMessages"] for report in reports),
        measured=f"{lost:,} messages lost and reported",
        broken=broken(
            {
                "the reports do not count what was lost": sum(report["gaps"] for report in reports) == lost,
                "the status does not show what was lost": status["gaps"] == lost,
                "not every gap is said": reported == 2 * rounds,
                "a run that lost something did not end with 1": [done.returncode for done in ended]
                == [0] + [1] * rounds,
                "it reports duplicates": reports[-1]["duplicates"] == 0,
                "rows and LOADS do not add up": found.rows == found.loaded and not found.awry,
            }
        ),
    )


def topic_recreated(site: Site) -> Outcome:
    """A topic that is deleted and made again, with more and with fewer messages, while it is read and not."""
    rounds = site.by_size(2, 4)
    topic, path = site.new_topic(2), site.folder() / "w.duckdb"
    admin, settings = AdminClient(site.broker.access.config()), ConsumeSettings(topic)
    wanted, said = set(range(300)), 0

    def again(count: int) -> None:
        admin.delete_topics([topic])[topic].result(_LONG_S)
        time.sleep(0.5)
        until(lambda: _made(site, topic), _LONG_S)
        publish(site.broker.access, topic, map(bundle, range(len(wanted), len(wanted) + count)))
        wanted.update(range(len(wanted), len(wanted) + count))

    publish(site.broker.access, topic, map(bundle, range(300)))
    for turn in range(rounds):
        with consuming(site.broker.access, path, settings) as run:
            until(lambda: books(asking(run)).numbers >= len(wanted), _LONG_S)
            again(900 if turn % 2 else 50)
            until(lambda: books(asking(run)).numbers >= len(wanted), _LONG_S)
            said += run.told("is not the topic that this warehouse has read before")
        again(40 if turn % 2 else 1000)
    with consuming(site.broker.access, path, settings) as run:
        reported = {"it did not say that it is another topic": said == rounds}
        return _outcome(run, 2 * rounds, wanted, reported, f"{rounds} times while it was read")


def _made(site: Site, topic: str) -> bool:
    site.broker.create_topic(topic, 2)
    return topic in AdminClient(site.broker.access.config()).list_topics(timeout=10).topics


def frozen(site: Site) -> Outcome:
    """SIGSTOP of a run for longer than its brokers and timers wait, under load; then SIGCONT."""
    stops: tuple[float, ...] = site.by_size((6.0,), (60.0, 5.0))
    folder, topic = site.folder(), site.new_topic(4)
    home = folder / ".lmdp"
    with started(*_words(site, topic), folder=folder) as program:
        until((home / "run.sock").exists, _LONG_S)
        with publishing(site.broker.access, topic, rate=800) as sent:
            for seconds in stops:
                until(lambda: sent.sent > 500, _LONG_S)
                time.sleep(1.5)
                program.send_signal(signal.SIGSTOP)
                time.sleep(seconds)
                assert psutil.Process(program.pid).status() == psutil.STATUS_STOPPED
                program.send_signal(signal.SIGCONT)
                time.sleep(1.5)
            sent.end()
        until(lambda: client.status(home)["rows"] >= sent.sent, _LONG_S)
        report = _stopped(program)
    there = functools.partial(rows, home)
    found = books(there)
    return Outcome(
        times=len(stops),
        messages=report["messages"],
        expected_rows=sent.sent,
        found_rows=found.numbers,
        repeats=found.repeats + report["duplicates"],
        rejects=report["rejectedMessages"],
        measured=f"for {max(stops):g} s at most",
        broken=broken(
            {
                "LOADS or OFFSETS do not add up": found.is_whole(),
                "it reports a loss": report["gaps"] == 0,
                "not everything was acknowledged": len(sent.acknowledged) == sent.sent,
            }
        ),
    )


def _stopped(program: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The report of a run that is asked to end."""
    program.send_signal(signal.SIGTERM)
    out, _ = program.communicate(timeout=_LONG_S)
    assert program.returncode == 0, program.returncode
    found: dict[str, Any] = json.loads(out)
    return found


SCENARIOS = (
    Scenario("topic split", "Two runs with disjoint partitions have each row once; one file has one writer.", split),
    Scenario(
        "partitions added", "Partitions that a topic gets while it is read are read from their start.", partitions_added
    ),
    Scenario(
        "retention passed",
        "What the topic lost unread is the one loss: said, counted, in the exit code.",
        retention_passed,
    ),
    Scenario(
        "topic recreated", "A recreated topic is read from its start, and the old one's rows stay.", topic_recreated
    ),
    Scenario(
        "broker set back", "A broker that lost its newest messages, or is another one: each row once.", broker_set_back
    ),
    Scenario("run frozen", "A run that was frozen resumes where it was.", frozen),
    Scenario("clock jumps", "Clocks that jump, and timestamps far off, change no row.", clock_jumps),
)
