"""Row events out of failed records."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lmdp import encode
from lmdp.identifiers import KEY_STYLES, KeyStyle, row_key, styled
from lmdp.refusals import PointRefused
from lmdp.replay.rows import row_reader
from replay.failures import SPEC, row_json

READ = row_reader(SPEC, 10_000)
ROW = row_json(7, value=2**60 + 1, attributes={"b": 1.50, "a": ["é"]}, resource={}, instance="i-7")


@pytest.mark.parametrize("style", KEY_STYLES)
@pytest.mark.parametrize("wanted", KEY_STYLES)
def test_keys_in_any_style_become_those_of_any_other(style: KeyStyle, wanted: KeyStyle) -> None:
    """A row that failed with one style of keys is written with another; its values are as they were."""
    failed = json.dumps({row_key(name, style): value for name, value in ROW.items()}).encode()
    (again,) = encode([READ(failed)], styled(SPEC, wanted))
    assert json.loads(again) == {row_key(name, wanted): value for name, value in ROW.items()}


def test_a_row_is_the_same_row() -> None:
    """What this program wrote comes back byte for byte, so that a repeat is known as one."""
    written = encode([READ(json.dumps(ROW).encode())])
    assert encode([READ(written[0])]) == written


@pytest.mark.parametrize(
    ("raw", "code", "text"),
    [
        (b"", "Row.Invalid", "no JSON object"),
        (b"[1]", "Row.Invalid", "no JSON object"),
        (b"\xff", "Row.Invalid", "no JSON object"),
        (b"{}", "Row.Invalid", "'orgId' is a required property"),
        ({**ROW, "more": 1}, "Row.Invalid", "'more' was unexpected"),
        ({**ROW, "ORGID": "acme"}, "Row.Invalid", "orgId: given twice"),
        ({**ROW, "value": "1"}, "Row.Invalid", "is not of type 'number'"),
        ({**ROW, "unit": None}, "Row.Invalid", "None is not of type 'string'"),
        ({**ROW, "tsUnixMs": 5}, "Row.Invalid", "but tsUnixMs 5 is"),
        ({**ROW, "attributes": {"a": "x" * 10_000}}, "Row.TooLarge", "more than 10,000 bytes"),
        (b'{"attributes":' + b"[" * 100_000, "Row.Invalid", "no JSON object"),
    ],
    ids=range(11),
)
def test_what_is_no_row(raw: Any, code: str, text: str) -> None:
    """A row that does not fit the specification says why."""
    with pytest.raises(PointRefused, match=text) as caught:
        READ(raw if isinstance(raw, bytes) else json.dumps(raw).encode())
    assert caught.value.code == code
