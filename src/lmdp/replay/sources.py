"""Where objects of failures are: a folder, or a bucket below a prefix. Both are the same few calls.

What was replayed goes below `replayed/`, and what is left takes its place: written only when the sink has the rest.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Protocol

REPLAYED: Final = "replayed"
"""The part of a name that says that an object was replayed; objects below it are not taken again."""

_LONGEST_NAME: Final = 240  # bytes; file systems take 255
_LONGEST_PLACE: Final = 900  # bytes; with the prefix, S3 takes 1,024


@dataclass(frozen=True, slots=True)
class Stored:
    """An object's content, and its version, to see whether it is still the same."""

    content: bytes
    version: object


class Store(Protocol):
    """A place with objects; their names are relative to it, with `/` between the parts."""

    @property
    def where(self) -> str:
        """The place as a user names it; `where` and a name make an object's address."""

    def names(self) -> list[str]:
        """The objects that were not replayed yet, in order. Raises UnreachableError."""

    def replayed(self) -> list[str]:
        """The names of those that were."""

    def read(self, name: str) -> Stored:
        """Read one.

        Raises UnreadableObjectError for what is no object of failures, UnreachableError when it is not to be had.
        """

    def archive(self, name: str, stored: Stored, to: str, left: bytes | None) -> bool:
        """Move an object to the name `to`, and put `left` in its place.

        False where it changed since it was read: then it stays, and what was read goes to `to`, so that it is known.
        """


def place_of_replayed(name: str, digest: str) -> str:
    """Where a replayed object goes: its name may be taken by an earlier one, so a part of the digest is in it.

    Always below `replayed/`, also for a key that begins with a slash, and never longer than a name may be: an object
    that could not be moved would be sent again each time.
    """
    path = PurePosixPath(name.lstrip("/"))
    place = PurePosixPath(REPLAYED, path.parent, f"{digest[:12]}-{path.name}")
    if len(_bytes(path.name)) <= _LONGEST_NAME and len(_bytes(str(place))) <= _LONGEST_PLACE:
        return str(place)
    return str(PurePosixPath(REPLAYED, f"{digest[:12]}-{hashlib.sha256(_bytes(name)).hexdigest()}"))


def _bytes(name: str) -> bytes:
    return name.encode(errors="surrogateescape")


def is_replayed(name: str) -> bool:
    """Whether an object of this name is one that was replayed."""
    return REPLAYED in PurePosixPath(name).parts[:-1]
