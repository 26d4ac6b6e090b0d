"""Where replayed objects go."""

from __future__ import annotations

import pytest

from lmdp.replay.stores import ReplayedFailures, is_replayed, place_of_replayed
from lmdp.support.failed_records import FailedRecord

DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a.gz", "replayed/0123456789ab-a.gz"),
        ("year=2026/a.gz", "replayed/year=2026/0123456789ab-a.gz"),
        ("/absolute/a.gz", "replayed/absolute/0123456789ab-a.gz"),
        ("//a.gz", "replayed/0123456789ab-a.gz"),
        ("../a.gz", "replayed/../0123456789ab-a.gz"),
    ],
)
def test_always_below_replayed(name: str, place: str) -> None:
    """A name that begins with a slash is no way out: its object would be taken again, and sent again."""
    assert place_of_replayed(name, DIGEST) == place
    assert is_replayed(place)


@pytest.mark.parametrize("name", ["n" * 255, "k" * 1015, "d/" * 500 + "deep", "\udcff" * 250])
def test_no_longer_than_a_name_may_be(name: str) -> None:
    """An object that cannot be moved would be sent again each time, so its name is shortened."""
    place = place_of_replayed(name, DIGEST)
    assert len(place.encode()) < 100
    assert is_replayed(place)
    assert place != place_of_replayed("x" + name, DIGEST)


REPLAYED = ["replayed/year=2026/0123456789ab-rows-1-2026-11-29-10-00-00.gz", "replayed/0123456789ab-t-0-5-6.ndjson.gz"]


@pytest.mark.parametrize(
    ("piece", "read"),
    [
        (FailedRecord({}, b"row"), []),  # a row event: Firehose does not say which message it is of
        (FailedRecord({}, b"message", ("t", 0, 6, None)), [REPLAYED[1], REPLAYED[0]]),
        (FailedRecord({}, b"message", ("t", 0, 7, None)), [REPLAYED[0]]),
    ],
)
def test_only_what_may_hold_copies_is_read(piece: FailedRecord, read: list[str]) -> None:
    """Nothing for rows of Firehose, which have no copies to find: all that was ever replayed would be read."""
    found: list[str] = []

    def pieces(name: str) -> list[FailedRecord]:
        found.append(name)
        return []

    offset = piece.place[2] if piece.place else 5
    seen = ReplayedFailures(REPLAYED, pieces)
    assert seen.copies(f"t-0-{offset}-{offset}.ndjson.gz", [piece]) == frozenset()
    assert sorted(found) == sorted(read)
