"""Messages cut into requests by bytes, and the tokens that say how far they are."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from lmdp.core.specification import MAX_ROW_BYTES
from lmdp.snowflake.streaming.requests import MAX_PAYLOAD, MAX_REQUEST, Rows, cut
from lmdp.snowflake.streaming.token import OffsetToken, Position, parse


def messages(counts: list[tuple[int, list[int]]]) -> list[Rows]:
    """Return messages with gaps between their offsets; each row has a length, and names itself."""
    found, offset = [], 0
    for gap, lengths in counts:
        offset += gap
        found.append(Rows(offset, [f"{offset}:{n}:".encode() + b"x" * length for n, length in enumerate(lengths)]))
        offset += 1
    return found


MESSAGES = st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 60), max_size=8)), max_size=12).map(messages)


@given(MESSAGES, st.data())
def test_every_row_behind_the_position_is_in_one_request(given_: list[Rows], data: st.DataObject) -> None:
    """Requests adjoin, hold each row once and in order, and none is too large unless a row is."""
    most = data.draw(st.integers(10, 200))
    places = [(row.offset, n) for row in given_ for n in range(len(row.lines))]
    position = Position(*data.draw(st.sampled_from([*places, (0, 0), (10**6, 0)])))
    wanted = [row.lines[n] for row in given_ for n in range(len(row.lines)) if (row.offset, n) >= position]
    appends = list(cut(given_, position, most))
    assert [line for append in appends for line in append.body.split(b"\n")[:-1]] == wanted
    assert [append.rows for append in appends] == [append.body.count(b"\n") for append in appends]
    assert all(len(append.body) <= most or append.rows == 1 for append in appends)
    ends = [append.end for append in appends]
    assert ends == sorted(set(ends))
    for append, following in pairwise(appends):
        assert append.first < append.end <= following.first


@given(MESSAGES, st.data())
def test_a_cut_continues_from_the_end_of_any_request(given_: list[Rows], data: st.DataObject) -> None:
    """What is sent after a resumption is what had not been sent, also within a message."""
    most = data.draw(st.integers(10, 200))
    appends = list(cut(given_, Position(0), most))
    at = data.draw(st.integers(0, len(appends)))
    position = parse(str(OffsetToken(appends[at - 1].end))).position if at else Position(0)  # type: ignore[union-attr]
    again = b"".join(append.body for append in cut(given_, position, most + 50))
    assert again == b"".join(append.body for append in appends[at:])


def test_a_message_is_whole_where_it_fits() -> None:
    """A message is begun in a new request rather than cut."""
    rows = [Rows(1, [b"aaaa"]), Rows(2, [b"bbbb", b"cccc"]), Rows(3, [b"d" * 30, b"e" * 30])]
    assert [(append.body, append.end) for append in cut(rows, Position(0), 12)] == [
        (b"aaaa\n", (2, 0)),
        (b"bbbb\ncccc\n", (3, 0)),
        (b"d" * 30 + b"\n", (3, 1)),
        (b"e" * 30 + b"\n", (4, 0)),
    ]


def test_a_request_cannot_exceed_snowflakes_limit() -> None:
    """What does not compress grows a little, and fits all the same; so does the largest row."""
    noise = random.Random(1).randbytes(MAX_REQUEST)
    assert len(zstandard.ZstdCompressor(level=1).compress(noise)) < MAX_PAYLOAD
    assert MAX_ROW_BYTES < MAX_REQUEST


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("0", OffsetToken(Position(1))),
        ("41@web-1.7.ab", OffsetToken(Position(42), -1, "web-1.7.ab")),
        ("41:7/3@w", OffsetToken(Position(41, 7), 3, "w")),
        ("41/0", OffsetToken(Position(42), 0)),
    ],
)
def test_a_token_reads_back(text: str, token: OffsetToken) -> None:
    """A token is a Kafka offset, rows of it, an epoch and a writer."""
    assert parse(text) == token
    assert str(token) == text


@pytest.mark.parametrize("text", [None, "", "x", "-1", "1:", "1/x", "1@", "9" * 30])
def test_a_foreign_token_is_none(text: str | None) -> None:
    """A token that this program cannot have written says nothing."""
    assert parse(text) is None
