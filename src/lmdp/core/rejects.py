"""Rejects: data that made no rows, with its reason, in a form that can be sent again."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from lmdp.core.flatten import Path
from lmdp.core.otlp.model import MetricsData
from lmdp.core.otlp.values import to_json
from lmdp.errors import DatapointError

_REASONS: Final = 1_000
"""The most reasons that a reject lists; one is the rule, and a hostile message could have one a datapoint."""

_DATA = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")


@dataclass(frozen=True, slots=True)
class Reject:
    """A message that failed, or the part of it that did: `raw` can be sent again when the fault is fixed.

    `timestamp` is Kafka's, in milliseconds; `datapoints` is 0 where the message could not be decoded; `tenant` is what
    a trusted header named, empty where none did.
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
    tenant: str = ""


def envelope(reject: Reject, now_ms: int) -> dict[str, Any]:
    """Return the JSON object that is stored: a record that Firehose could not deliver, and its source in Kafka.

    https://docs.aws.amazon.com/firehose/latest/dev/retry.html
    """
    return {
        "errorCode": reject.code,
        "errorMessage": reject.message,
        "attemptsMade": 1,
        "arrivalTimestamp": now_ms,
        "attemptEndingTimestamp": now_ms,
        "rawData": base64.b64encode(reject.raw).decode(),
        "source": {
            "topic": reject.topic,
            "partition": reject.partition,
            "offset": reject.offset,
            "timestamp": reject.timestamp,
            "key": None if reject.key is None else base64.b64encode(reject.key).decode(),
            **({"tenant": reject.tenant} if reject.tenant else {}),
        },
        "datapoints": reject.datapoints,
    }


def paths(bundle: MetricsData) -> Iterator[Path]:
    """Yield the path to each datapoint of a message."""
    for resource_metrics in bundle.resourceMetrics or ():
        for scope_metrics in resource_metrics.scopeMetrics or ():
            for metric in scope_metrics.metrics or ():
                for data in filter(None, (getattr(metric, name) for name in _DATA)):
                    for point in data.dataPoints or ():
                        yield resource_metrics, scope_metrics, metric, data, point


def cut_down(kept: Iterable[Path]) -> bytes:
    """Return a message with only these of its datapoints, as OTLP/JSON."""
    bundle: list[Any] = []
    made: dict[int, Any] = {}  # by the id of the part that it is made of, which the paths keep alive

    def copied(siblings: list[Any], part: Any, copy: Callable[[Any], Any]) -> Any:
        if id(part) not in made:
            made[id(part)] = copy(part)
            siblings.append(made[id(part)])
        return made[id(part)]

    for resource_metrics, scope_metrics, metric, data, point in kept:
        resources = copied(bundle, resource_metrics, _empty_resource)
        scopes = copied(resources.scopeMetrics, scope_metrics, _empty_scope)
        metrics = copied(scopes.metrics, metric, _empty_metric)
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
    """Return `part` with its attributes as JSON, whatever their format was."""
    if part is None or not isinstance(part.attributes, tuple):
        return part
    return replace(part, attributes=to_json(part.attributes))


def reasons(refusals: Sequence[DatapointError]) -> tuple[str, str]:
    """Return the code of the first refusal, and the texts of all that differ."""
    texts = list(dict.fromkeys(f"{refused.code}: {refused.text}" for refused in refusals))
    first = refusals[0]
    shown = [first.text, *(text for text in texts[:_REASONS] if text != f"{first.code}: {first.text}")]
    if len(texts) > _REASONS:
        shown.append(f"and {len(texts) - _REASONS} more reasons")
    return first.code, "; ".join(shown)
