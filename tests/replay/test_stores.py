"""Where replayed objects go."""

from __future__ import annotations

import pytest

from lmdp.replay.stores import is_replayed, place_of_replayed

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
