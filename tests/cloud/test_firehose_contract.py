"""The sink contract, on Firehose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from cloud.names import REGION, STREAM
from contract.sink_contract import RULES, Fate, Outcome, Rig
from lmdp.cloud.firehose_sink import Firehose, deliver, open_firehose
from lmdp.errors import DeliveryError
from lmdp.testing.firehose import DENIED, THROTTLED, UNAVAILABLE, Double, Fault

SCRIPTS: dict[Fate, list[Fault]] = {
    Fate.FINE: [],
    Fate.SOMETIMES_REFUSED: [
        THROTTLED,
        Fault(entries=frozenset(range(0, 500, 20))),
        UNAVAILABLE,
        Fault(entries=frozenset({0})),
    ],
    Fate.ALWAYS_BUSY: [Fault(entries=frozenset(range(100))), *[THROTTLED] * 500],
    Fate.NEVER_ALLOWED: [Fault(), DENIED, Fault(seconds=0.05)],
    Fate.HALF_IN_ANSWER_LOST: [
        Fault(entries=frozenset(range(250)), lose=True),
        Fault(drop=True),
        Fault(garble=True),
    ],
}


@dataclass(slots=True)
class FirehoseRig:
    """The real sink, with the double behind it."""

    double: Double
    firehose: Firehose

    def arrange(self, fate: Fate) -> None:
        """Write the script."""
        self.double.script.clear()
        self.double.script.extend(SCRIPTS[fate])

    def deliver(self, first: int, count: int) -> Outcome:
        """Deliver, with little time where nothing will get through."""
        rows = [b'{"n":%d}' % n for n in range(first, first + count)]
        seconds = 1.0 if len(self.double.script) > 100 else 30.0
        try:
            done = deliver(self.firehose, rows, self.firehose.clock() + seconds)
        except DeliveryError as error:
            done, raised = error.delivered, "retryable" if error.retryable else "permanent"
        else:
            raised = ""
        return Outcome(done.rows, done.accepted, done.refused, done.repeats, raised)

    def stored(self) -> Counter[int]:
        """What the double accepted."""
        return Counter(int(record[5:-1]) for record in self.double.accepted)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("concurrency", [1, 4])
def test_contract(rule: Callable[[Rig], None], concurrency: int, double: Double) -> None:
    """Firehose owes what every sink owes, whether its calls go one by one or together."""
    environment = {"AWS_ENDPOINT_URL_FIREHOSE": double.url}
    rule(FirehoseRig(double, open_firehose(STREAM, REGION, environment, concurrency)))
