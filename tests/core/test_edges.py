"""Messages at the edges: each has the verdict that is written beside it, and nothing else becomes of it."""

from __future__ import annotations

import json

import pytest

from bundles import run, verdict
from edges import EDGES, Edge, nested, nested_binary
from lmdp import Message, Transformed, TransformSettings, encode, transform

SMALL = [edge for edge in EDGES if not edge.alone]


@pytest.mark.parametrize("edge", SMALL, ids=lambda edge: edge.name)
def test_edge(edge: Edge) -> None:
    """The verdict is the expected one, the counts add up, and a message that is not read is the reject itself."""
    value = edge.make()
    done = run(value)
    assert verdict(done) == edge.verdict, done.rejects[0].message[:200] if done.rejects else ""
    counts = done.counts
    assert counts.datapoints == counts.converted + counts.dropped["noRecordedValue"] + counts.rejected_datapoints
    assert [json.loads(line)["deviceId"] for line in encode(done.rows)] == ["4711"] * len(done.rows)
    for reject in done.rejects:
        assert len(reject.message) < 500
        if edge.verdict.startswith("Decode."):
            assert (reject.raw, reject.datapoints) == (value, 0)


def further_down(frames: int, value: bytes | None) -> Transformed:
    """Asked from so many frames further down the stack."""
    if frames:
        return further_down(frames - 1, value)
    return transform([Message(value)], TransformSettings(org_id="acme"))


@pytest.mark.parametrize("edge", [edge for edge in EDGES if " x " in edge.name], ids=lambda edge: edge.name)
def test_the_depth_of_the_caller_does_not_matter(edge: Edge) -> None:
    """What is nested too deep is so by a limit of our own, not by how much of Python's stack is left."""
    assert verdict(further_down(400, edge.make())) == edge.verdict


@pytest.mark.parametrize("value", [nested(65, "array"), nested_binary(50), nested_binary(34, "kvlist")])
def test_the_reason_is_that_it_is_nested_too_deep(value: bytes) -> None:
    """Whichever reader stopped."""
    (reject,) = run(value).rejects
    assert reject.message == "metric 'M': datapoint attributes: nested too deep"
