"""Rejects: what became no rows, with its reason, in a form that can be sent again."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from lmdp.core.flatten import Failure
from lmdp.core.otlp.model import MetricsData
from lmdp.core.otlp.values import to_json
from lmdp.errors import DatapointError

_REASONS: Final = 1_000
"""How many different reasons a reject lists; one is the rule, and a hostile message could have one a datapoint."""

_DATA = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")


@dataclass(frozen=True, slots=True)
class Reject:
    """A message that failed, or the part of it that did: `raw` can be sent again when the fault is mended.

    `timestamp` is Kafka's, in milliseconds; `datapoints` is 0 where the message could not be decoded.
    """

    code: str
    message: str
    raw: bytes
    topic: str
    partition: int
    offset: int
    timestamp: int | None
    key: bytes | None
    datapoints: int = 0

    def envelope(self, now_ms: int) -> dict[str, Any]:
        """The JSON object that is stored: the shape of a record that Firehose could not deliver, and its source.

        https://docs.aws.amazon.com/firehose/latest/dev/retry.html
        """
        return {
            "errorCode": self.code,
            "errorMessage": self.message,
            "attemptsMade": 1,
            "arrivalTimestamp": now_ms,
            "attemptEndingTimestamp": now_ms,
            "rawData": base64.b64encode(self.raw).decode(),
            "source": {
                "topic": self.topic,
                "partition": self.partition,
                "offset": self.offset,
                "timestamp": self.timestamp,
                "key": None if self.key is None else base64.b64encode(self.key).decode(),
            },
            "datapoints": self.datapoints,
        }


def cut_down(failures: Sequence[Failure]) -> bytes:
    """The message with nothing in it but the datapoints that failed, as OTLP/JSON."""
    bundle: list[Any] = []
    made: dict[int, Any] = {}  # by the id of the part that it is made of, which the failures keep alive

    def within(siblings: list[Any], part: Any, copy: Callable[[Any], Any]) -> Any:
        if id(part) not in made:
            made[id(part)] = copy(part)
            siblings.append(made[id(part)])
        return made[id(part)]

    for failure in failures:
        resource_metrics, scope_metrics, metric, data, point = failure.path
        resources = within(bundle, resource_metrics, _empty_resource)
        scopes = within(resources.scopeMetrics, scope_metrics, _empty_scope)
        metrics = within(scopes.metrics, metric, _empty_metric)
        if id(data) not in made:
            made[id(data)] = replace(data, dataPoints=[])
            setattr(metrics, next(name for name in _DATA if getattr(metric, name) is data), made[id(data)])
        made[id(data)].dataPoints.append(_json(point))
    return msgspec.json.encode(MetricsData(bundle))


def _empty_resource(part: Any) -> Any:
    return replace(part, resource=_json(part.resource), scopeMetrics=[])


def _empty_scope(part: Any) -> Any:
    return replace(part, scope=_json(part.scope), metrics=[])


def _empty_metric(part: Any) -> Any:
    return replace(part, **dict.fromkeys(_DATA))


def _json(part: Any) -> Any:
    """`part` with its attributes as JSON, whatever they came as."""
    if part is None or not isinstance(part.attributes, list):
        return part
    return replace(part, attributes=to_json(part.attributes))


def reasons(refusals: Sequence[DatapointError]) -> tuple[str, str]:
    """The code of the first refusal, and the texts of all that differ."""
    texts = list(dict.fromkeys(f"{refused.code}: {refused.text}" for refused in refusals))
    first = refusals[0]
    shown = [first.text, *(text for text in texts[:_REASONS] if text != f"{first.code}: {first.text}")]
    if len(texts) > _REASONS:
        shown.append(f"and {len(texts) - _REASONS} more reasons")
    return first.code, "; ".join(shown)
