"""What holds for any bundle, against a second reading of the contract.

`LMDP_EXAMPLES=5000 pytest tests/test_properties.py` makes the run long.
"""

from __future__ import annotations

import datetime as dt
import functools
import gzip
import json
import os
from collections import Counter
from typing import Any

import jsonschema
import pytest
import zstandard
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import oracle
import strategies as given_by
from lmdp import Message, Transformed, TransformSettings, encode, transform
from lmdp.core.specification import load_spec

EXAMPLES = int(os.environ.get("LMDP_EXAMPLES", "0"))
SPEC = load_spec()
COLUMNS = [field.name for field in SPEC.fields]
SEED = st.integers(0, 2**32 - 1)

pytestmark = pytest.mark.timeout(0 if EXAMPLES else 120)


def examples(count: int) -> settings:
    """`count` examples, the same ones every time; more, and others, where LMDP_EXAMPLES asks."""
    return settings(
        max_examples=EXAMPLES or count,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@functools.cache
def setting(org_id: str | None = "acme", **limits: Any) -> TransformSettings:
    """Settings, one object for each."""
    return TransformSettings(org_id=org_id, spec=SPEC, **limits)


def run(value: bytes, org_id: str | None = "acme", timestamp: int | None = None, **limits: Any) -> Transformed:
    """Transform one message."""
    return transform([Message(value, timestamp=timestamp)], setting(org_id, **limits))


def text(bundle: Any) -> bytes:
    """A bundle as JSON."""
    return json.dumps(bundle).encode()


def shown(rows: list[tuple[Any, ...]]) -> list[str]:
    """Rows as the JSON that is written, parsed and canonical, so that 1, 1.0 and true differ."""
    return [json.dumps(json.loads(line), sort_keys=True) for line in encode(rows)]


def adds_up(done: Transformed) -> bool:
    """The sums of the contract."""
    counts = done.counts
    return (
        counts.datapoints == counts.converted + counts.dropped["noRecordedValue"] + counts.rejected_datapoints
        and counts.rows == len(done.rows)
        and counts.rejected_messages == len(done.rejects)
        and counts.rejected_datapoints == sum(reject.datapoints for reject in done.rejects)
    )


def cut(bundle: Any, places: set[tuple[int, int, int, int]]) -> Any:
    """The datapoints at `places` as (resource, scope, metric, kind, datapoint), in order."""
    kept = []
    for r, resource in enumerate(bundle["resourceMetrics"]):
        for s, scope in enumerate(resource["scopeMetrics"]):
            for m, metric in enumerate(scope["metrics"]):
                kind = next((kind for kind in oracle.TYPES if kind in metric), "")
                for p, _ in enumerate(metric.get(kind, {}).get("dataPoints", [])):
                    if (r, s, m, p) in places:
                        kept.append((metric.get("name"), kind, p))
    return kept


def assert_sorted(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Keys once each, in the order of their code points."""
    keys = [key for key, _ in pairs]
    assert keys == sorted(set(keys))
    return dict(pairs)


@examples(250)
@given(given_by.BUNDLE, given_by.ORG_ID, given_by.KAFKA_MS)
def test_rows_and_counts_are_the_oracles(bundle: Any, org_id: str | None, kafka_ms: int | None) -> None:
    """Any bundle gives the rows, the rejects and the counts that the contract's words give."""
    done = run(text(bundle), org_id, kafka_ms)
    try:
        expected = oracle.expect(bundle, org_id, kafka_ms)
    except oracle.NotMetricsError:
        assert [(reject.code, reject.raw) for reject in done.rejects] == [("Decode.NotMetrics", text(bundle))]
        assert (done.rows, done.counts.datapoints, +done.counts.dropped) == ([], 0, {})
        return
    assert shown(done.rows) == [json.dumps(row, sort_keys=True) for row in expected.rows]
    assert adds_up(done)
    assert (done.counts.datapoints, done.counts.converted) == (expected.datapoints, expected.converted)
    assert +done.counts.dropped == +expected.dropped
    assert [reject.code for reject in done.rejects] == list(expected.failed.values())[:1]
    for reject in done.rejects:
        assert reject.datapoints == len(expected.failed)
        assert set(expected.failed.values()) == set(_codes(reject.code, reject.message))


def _reasons(done: Transformed) -> list[tuple[str, str, int]]:
    """Code, text and datapoints; of a whole message that is refused, the code alone."""
    return [(each.code, each.message if each.datapoints else "", each.datapoints) for each in done.rejects]


def _codes(code: str, message: str) -> set[str]:
    return {code} | {part.split(":")[0] for part in message.split("; ") if part.startswith("Row.")}


@examples(120)
@given(given_by.BUNDLE, given_by.KAFKA_MS)
def test_every_row_is_valid(bundle: Any, kafka_ms: int | None) -> None:
    """Every row validates against the specification, has sorted maps, and says one moment twice."""
    validator = jsonschema.Draft202012Validator(SPEC.schema)
    done = run(text(bundle), "acme", kafka_ms)
    for row, line in zip(done.rows, encode(done.rows), strict=True):
        event = json.loads(line)
        validator.validate(event)
        assert list(event) == [name for name in COLUMNS if name in event]
        assert len(row) == len(COLUMNS)
        for column in row[-3:]:
            json.loads(column, object_pairs_hook=assert_sorted)
        moment = dt.datetime.fromisoformat(event["ts"])
        since = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
        assert since // dt.timedelta(milliseconds=1) == event["tsUnixMs"]


@examples(150)
@given(given_by.BUNDLE, given_by.ORG_ID, given_by.KAFKA_MS)
def test_protobuf_and_json_agree(bundle: Any, org_id: str | None, kafka_ms: int | None) -> None:
    """The same bundle gives the same rows, rejects and counts from either form."""
    assume(bundle["resourceMetrics"])  # a protobuf without any is no metrics, since it says nothing else
    one, other = run(text(bundle), org_id, kafka_ms), run(given_by.protobuf(bundle), org_id, kafka_ms)
    assert shown(one.rows) == shown(other.rows)
    assert _reasons(one) == _reasons(other)
    assert {**one.counts.report(), "bytesIn": 0} == {**other.counts.report(), "bytesIn": 0}
    for first, second in zip(one.rejects, other.rejects, strict=True):
        replays = [run(raw, "mended", kafka_ms) for raw in (first.raw, second.raw)]
        assert shown(replays[0].rows) == shown(replays[1].rows)
        assert {**replays[0].counts.report(), "bytesIn": 0} == {**replays[1].counts.report(), "bytesIn": 0}


@examples(150)
@given(given_by.BUNDLE, given_by.KAFKA_MS, st.booleans())
def test_a_replayed_reject_gives_the_missing_rows(bundle: Any, kafka_ms: int | None, binary: bool) -> None:
    """With the tenant set, the reject gives exactly the rows that were missing, and counts that complete the first."""
    assume(bundle["resourceMetrics"])
    value = given_by.protobuf(bundle) if binary else text(bundle)
    whole, part = run(value, "acme", kafka_ms), run(value, None, kafka_ms)
    again = transform([Message(reject.raw, timestamp=kafka_ms) for reject in part.rejects], setting("acme"))
    assert Counter(shown(part.rows) + shown(again.rows)) == Counter(shown(whole.rows))
    assert again.counts.datapoints == part.counts.rejected_datapoints
    assert part.counts.converted + again.counts.converted == whole.counts.converted
    assert part.counts.dropped + again.counts.dropped == whole.counts.dropped
    assert [(r.code, r.datapoints) for r in again.rejects] == [(r.code, r.datapoints) for r in whole.rejects]


@examples(100)
@given(given_by.BUNDLE, st.integers(150, 700), st.booleans())
def test_a_row_limit_is_exact_and_mended_by_replay(bundle: Any, limit: int, binary: bool) -> None:
    """A datapoint is rejected if one of its rows has more bytes than the limit, and comes back when it is raised."""
    assume(bundle["resourceMetrics"])
    value = given_by.protobuf(bundle) if binary else text(bundle)
    whole, part = run(value, "acme", 1), run(value, "acme", 1, max_row_bytes=limit)
    again = transform([Message(reject.raw, timestamp=1) for reject in part.rejects], setting("acme"))
    assert Counter(shown(part.rows) + shown(again.rows)) == Counter(shown(whole.rows))
    assert all(len(line) <= limit for line in encode(part.rows))
    if not any(len(line) > limit for line in encode(whole.rows)):
        assert shown(part.rows) == shown(whole.rows)
    assert adds_up(part)


@examples(100)
@given(given_by.BUNDLE)
def test_a_message_limit_is_exact(bundle: Any) -> None:
    """The rows of one message may have as many bytes as the limit says, and not one more."""
    whole = run(text(bundle), "acme", 1)
    size = sum(map(len, encode(whole.rows)))
    if not size:
        return
    assert shown(run(text(bundle), "acme", 1, max_message_row_bytes=size).rows) == shown(whole.rows)
    refused = run(text(bundle), "acme", 1, max_message_row_bytes=size - 1)
    assert (refused.rows, refused.counts.datapoints) == ([], 0)
    assert [(reject.code, reject.raw) for reject in refused.rejects] == [("Decode.TooLarge", text(bundle))]


@examples(150)
@given(given_by.BUNDLE, SEED)
def test_lenient_spellings_agree(bundle: Any, seed: int) -> None:
    """Names as in the .proto file, integers in every spelling, enums as names, nulls, a BOM: the rows are the same."""
    one, other = run(text(bundle), None, 1), run(given_by.respelled(bundle, seed), None, 1)
    assert shown(other.rows) == shown(one.rows)
    assert {**one.counts.report(), "bytesIn": 0} == {**other.counts.report(), "bytesIn": 0}
    for reject in other.rejects:
        assert shown(run(reject.raw, "acme", 1).rows) == shown(run(one.rejects[0].raw, "acme", 1).rows)


@examples(60)
@given(st.lists(given_by.BUNDLE, max_size=4), given_by.ORG_ID)
def test_messages_do_not_know_each_other(bundles: list[Any], org_id: str | None) -> None:
    """Many messages in one call give what each alone gives, and the counts add."""
    values = [text(bundle) for bundle in bundles] + [None, b"{}"]
    together = transform([Message(value, timestamp=1) for value in values], setting(org_id))
    alone = [transform([Message(value, timestamp=1)], setting(org_id)) for value in values]
    assert together.rows == [row for each in alone for row in each.rows]
    assert together.rejects == [reject for each in alone for reject in each.rejects]
    total = alone[0].counts
    for each in alone[1:]:
        total = total + each.counts
    assert together.counts.report() == total.report()


def counted(value: bytes) -> bool:
    """A message, whatever it is, is counted and adds up."""
    done = run(value)
    encode(done.rows)
    return done.counts.messages == 1 and done.counts.bytes_in == len(value) and adds_up(done)


@examples(300)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"{", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\n{", b"\xef\xbb\xbf{"]),
)
def test_random_bytes_never_raise(noise: bytes, start: bytes) -> None:
    """Noise is rejected, or empty, or by chance metrics; it never raises."""
    assert counted(start + noise)


@examples(300)
@given(given_by.BUNDLE, SEED, st.sampled_from(["json", "protobuf"]), st.sampled_from(["", "gzip", "zstd"]), st.data())
def test_broken_messages_never_raise(bundle: Any, seed: int, form: str, packed: str, data: st.DataObject) -> None:
    """A message with bytes changed, inserted, repeated or cut off, before or after compression, never raises."""
    value = given_by.respelled(bundle, seed) if form == "json" else given_by.protobuf(bundle)
    pack: Any = {"": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}[packed]
    if data.draw(st.booleans()):
        assert counted(broken(pack(value), data))
    else:
        assert counted(pack(broken(value, data)))


def broken(value: bytes, data: st.DataObject) -> bytes:
    """`value` with one thing wrong with it."""
    start = data.draw(st.integers(0, len(value)))
    end = data.draw(st.integers(start, min(len(value), start + 8)))
    how = data.draw(st.sampled_from(["cut", "replace", "repeat", "number"]))
    if how == "cut":
        return value[:start]
    if how == "replace":
        return value[:start] + data.draw(st.binary(max_size=4)) + value[end:]
    if how == "repeat":
        return value[:end] + value[start:]
    return (
        value[:start] + data.draw(st.sampled_from([b"1e999", b"-1", b'"\\ud800"', b"null", b"[", b"NaN"])) + value[end:]
    )
