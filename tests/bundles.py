"""Small OTLP/JSON messages for tests, and what becomes of them."""

from __future__ import annotations

import json
from typing import Any

from lmdp import Message, Transformed, TransformSettings, encode, transform
from lmdp.core.specification import load_spec

SPEC = load_spec()
NS = 1_715_263_558_360_000_000  # 2024-05-09T14:05:58.360Z
MS = NS // 10**6
POINT = {"timeUnixNano": str(NS), "asDouble": 1.5}
HOST = [{"key": "hostId", "value": {"stringValue": "4711"}}]
SCOPE = {"name": "CPU"}


def pair(key: str, **value: Any) -> dict[str, Any]:
    """One attribute."""
    return {"key": key, "value": value}


def text(key: str, value: str) -> dict[str, Any]:
    """One attribute of text."""
    return pair(key, stringValue=value)


def bundle(*metrics: Any, attributes: Any = HOST, scope: Any = SCOPE) -> dict[str, Any]:
    """A request of one resource and one scope."""
    scopes = [{"scope": scope, "metrics": list(metrics)}]
    return {"resourceMetrics": [{"resource": {"attributes": attributes}, "scopeMetrics": scopes}]}


def metric(kind: str, *points: Any, name: Any = "M", **data: Any) -> dict[str, Any]:
    """A metric of one kind."""
    return {"name": name, kind: {"dataPoints": list(points), **data}}


def gauge(*points: Any, name: Any = "M", **about: Any) -> dict[str, Any]:
    """A gauge."""
    return {**metric("gauge", *(points or (POINT,)), name=name), **about}


def raw(point: str = '{"timeUnixNano":1,"asDouble":1.5}', scope: str = '{"name":"CPU"}', more: str = "") -> bytes:
    """A request with literal JSON for the datapoint of a sum, and for the scope; `more` are members of the sum."""
    frame = json.dumps(bundle({"name": "M", "sum": {"dataPoints": ["<point>"]}}, scope="<scope>"))
    points = f"[{point}]{',' if more else ''}{more}"
    return frame.replace('["<point>"]', points).replace('"<scope>"', scope).encode()


def run(value: Any, org_id: str | None = "acme", timestamp: int | None = None, **limits: Any) -> Transformed:
    """Transform one message: bytes, or an object as JSON."""
    data = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
    return transform([Message(data, timestamp=timestamp)], TransformSettings(org_id=org_id, spec=SPEC, **limits))


def events(value: Any, org_id: str | None = "acme", timestamp: int | None = None) -> list[dict[str, Any]]:
    """The row events of one message, of which nothing is rejected."""
    done = run(value, org_id, timestamp)
    assert done.rejects == []
    return [json.loads(line) for line in encode(done.rows)]


def verdict(done: Transformed) -> str:
    """What became of one message, in a word: its reject's code, `empty`, or how many rows."""
    codes = [reject.code for reject in done.rejects]
    assert len(codes) <= 1
    assert done.counts.messages == 1
    return codes[0] if codes else "empty" if done.counts.dropped["empty"] else f"{len(done.rows)} rows"
