"""Transactions, retention right behind them, and a new leader: what is no message is never reported as lost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from confluent_kafka.admin import AdminClient

from chaos.books import books, numbers
from chaos.scenario import Outcome, Scenario, Site, broken
from lmdp.machine.embedded_kafka.broker import KafkaBroker, embedded
from lmdp.machine.settings import ConsumeSettings
from running import consuming, until
from transacting import aborted, committed, group_offsets, remove_before, transaction

if TYPE_CHECKING:
    from pathlib import Path

    from running import Consuming

_LONG_S = 180  # for what takes seconds, on a machine that does other things too
_TOPIC = "chaos.transactions"


def transactions(site: Site) -> Outcome:
    """Each round a run reads committed, aborted and open ones; then retention takes all, and the broker ends."""
    rounds, lost = site.by_size(1, 6), []
    path, ends, wanted = site.folder() / "w.duckdb", 0, set[int]()
    with KafkaBroker(embedded(site.folder())) as broker:
        broker.create_topic(_TOPIC, 1)
        for at in range(rounds):
            first = at * 100
            with consuming(broker.access, path, ConsumeSettings(_TOPIC)) as run:
                committed(broker.access, _TOPIC, range(first, first + 20))
                aborted(broker.access, _TOPIC, range(first + 20, first + 50))
                opened = transaction(broker.access, _TOPIC, range(first + 50, first + 60))
                ends += 20 + 1 + 30 + 1
                _until_read(run, ends)
                ends += 10 + 1
                if at % 2:
                    opened.abort_transaction(_LONG_S)
                else:
                    opened.commit_transaction(_LONG_S)
                wanted |= {*range(first, first + 20), *(() if at % 2 else range(first + 50, first + 60))}
                _until_read(run, ends)
                _until_group(broker, ends)
                lost += [line for line in run.said if "LOST" in line or "lost" in line]
            admin = AdminClient(broker.access.config())  # requests end with it
            remove_before(admin, _TOPIC, ends)
            broker.stop()
            broker.start()
        return _last_run(broker, path, rounds, wanted, lost)


def _last_run(broker: KafkaBroker, path: Path, rounds: int, wanted: set[int], lost: list[str]) -> Outcome:
    """Read what an aborted transaction left, to the end, and look into the warehouse."""
    aborted(broker.access, _TOPIC, range(10_000, 10_005))
    with consuming(broker.access, path, ConsumeSettings(_TOPIC)) as run:
        run.ends.drain.set()
        until(lambda: run.ended, _LONG_S)
        lost += run.said
        ask = lambda sql: run.warehouse.query(sql, limit_rows=1_000_000).table.to_pylist()  # noqa: E731 - short
        found, kept = books(ask), numbers(ask)
        return Outcome(
            times=4 * rounds,
            messages=found.messages,
            expected_rows=len(wanted),
            found_rows=len(kept & wanted),
            repeats=found.repeats,
            rejects=run.warehouse.tally.exact().rejects.total(),
            measured=f"{found.messages - len(wanted):,} offsets without a message",
            broken=broken(
                {
                    f"a loss was reported: {lost[:1]}": not lost,
                    "GAPS is not empty": run.warehouse.tally.exact().gaps == 0,
                    "an aborted message made a row": kept <= wanted,
                    "LOADS or OFFSETS do not add up": found.is_whole(),
                }
            ),
        )


def _until_group(broker: KafkaBroker, offset: int) -> None:
    """Wait until lag monitors see this offset."""
    until(lambda: group_offsets(broker.access, _TOPIC, 1)[0][0] == offset, _LONG_S)


def _until_read(run: Consuming, offset: int) -> None:
    """Wait until OFFSETS has this offset, and for a moment more."""
    sql = "SELECT max(NEXT_OFFSET) AS N FROM OFFSETS"
    until(lambda: run.error or run.warehouse.query(sql).table.to_pylist() == [{"N": offset}], _LONG_S)
    time.sleep(0.5)


SCENARIOS = (
    Scenario(
        "transactions, retention, new leaders",
        "Transaction markers and aborted messages are read, not lost, whatever retention removes behind them.",
        transactions,
    ),
)
