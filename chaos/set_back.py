"""A broker that is not what it was: without its newest messages, or another one under the same address."""

from __future__ import annotations

import dataclasses
import shutil
import struct
from typing import TYPE_CHECKING

from chaos.books import asking, books, numbers
from chaos.scenario import Outcome, Site, broken
from lmdp.machine.embedded_kafka.broker import KafkaBroker, embedded
from lmdp.machine.settings import ConsumeSettings
from running import bundle, consuming, publish, until

if TYPE_CHECKING:
    from pathlib import Path

    from running import Consuming

_TOPIC = "t"
_LONG_S = 180  # a Kafka starts within it, on a machine that does other things too


def broker_set_back(site: Site) -> Outcome:
    """A log is cut while nobody reads, and takes new messages before anybody does; cut while it is read; replaced."""
    folder = site.folder()
    settings, path, wanted = embedded(folder), folder / "w.duckdb", set[int]()
    reported = []
    with KafkaBroker(settings) as own:
        own.create_topic(_TOPIC, 1)
        for _ in range(10):
            _publish(own, wanted, 10)
        with consuming(own.access, path, ConsumeSettings(_TOPIC)) as run:
            _wait(run, wanted)
        _cut_off(own, folder, batches=2)
        _publish(own, wanted, 30)  # takes the offsets of the 20 that are gone, and 10 more
        with consuming(own.access, path, ConsumeSettings(_TOPIC)) as run:
            _wait(run, wanted)
            reported.append(run.told("end at 80 now: the broker has lost its newest"))
            for _ in range(5):
                _publish(own, wanted, 10)
            _wait(run, wanted)
            _cut_off(own, folder, batches=3)
            _publish(own, wanted, 5)
            _wait(run, wanted)
            reported.append(run.told("end at 130 now: the broker has lost its newest"))
            own.stop()
            other = dataclasses.replace(settings, folder=folder / "other")
            other.folder.mkdir()
            shutil.copy(settings.folder / "ports", other.folder)
            with KafkaBroker(other) as another:
                assert another.bootstrap_servers == own.bootstrap_servers, "the port was taken"
                another.create_topic(_TOPIC, 1)
                _publish(another, wanted, 200)
                _wait(run, wanted)
                reported.append(run.told("is not the topic that this warehouse has read before"))
                return _outcome(run, wanted, reported)


def _outcome(run: Consuming, wanted: set[int], reported: list[bool]) -> Outcome:
    found, kept = books(asking(run)), numbers(asking(run))
    return Outcome(
        times=3,
        messages=int(found.messages),
        expected_rows=len(wanted),
        found_rows=len(kept & wanted),
        repeats=found.repeats,
        rejects=run.progress.counts.rejected_messages,
        measured=f"{run.warehouse.duplicates()} duplicates reported",
        broken=broken(
            {
                "it was not said each time": reported == [True] * 3,
                "it reports duplicates": run.warehouse.duplicates() == 0,
                "it reports a loss": run.warehouse.tally.exact().gaps == 0,
                "rows and LOADS do not add up": found.rows == found.loaded,
            }
        ),
    )


def _wait(run: Consuming, wanted: set[int]) -> None:
    until(lambda: run.ended or books(asking(run)).numbers >= len(wanted), _LONG_S)
    assert not run.ended, run.error


def _publish(broker: KafkaBroker, wanted: set[int], count: int) -> None:
    """Publish the next `count` numbers; as a rule they are one batch of the log."""
    new = range(len(wanted), len(wanted) + count)
    publish(broker.access, _TOPIC, map(bundle, new))
    wanted.update(new)


def _cut_off(broker: KafkaBroker, folder: Path, *, batches: int) -> None:
    """Take the newest batches from the partition's log, as a power cut does that comes before they are on disk."""
    broker.stop()
    partition = folder / "broker" / "data" / f"{_TOPIC}-0"
    log = partition / "00000000000000000000.log"
    content, starts, at = log.read_bytes(), [], 0
    while at < len(content):
        starts.append(at)
        at += 12 + struct.unpack_from(">i", content, at + 8)[0]  # the offset, the length, and so many bytes
    log.write_bytes(content[: starts[-batches]])
    for kind in ("index", "timeindex", "snapshot"):
        for file in partition.glob(f"*.{kind}"):
            file.unlink()
    (partition.parent / ".kafka_cleanshutdown").unlink(missing_ok=True)
    broker.start()
