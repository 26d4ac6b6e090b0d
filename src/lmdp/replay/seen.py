"""The failures that were replayed before: a batch that was tried again may have been split into other objects.

Replayed objects stay in the store. The names of our own have their offsets, so that only those are read that may have
the same ones; an object under any other name may have any. A warehouse also has the keys of copies, from any store.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from lmdp.support.failed_records import Failed, Unparseable

# <topic>-<partition>-<first offset>-<last offset>.<digest>.ndjson.gz, behind what a replayed object has in front.
_NAME = re.compile(
    r"(?:[0-9a-f]{12}-)?(?P<place>.+-\d+)-(?P<first>\d+)-(?P<last>\d+)(?:\.[0-9a-f]{16})?\.ndjson(?:\.gz)?"
)


class Seen:
    """The failures that were replayed, as far as they can be recognised."""

    def __init__(self, replayed: Iterable[str], pieces: Callable[[str], Iterable[Failed | Unparseable]]) -> None:
        """`replayed` names the objects that were replayed, and `pieces` reads one."""
        self._pieces = pieces
        self._found: set[tuple[object, ...]] = set()
        self._unread: defaultdict[str, list[tuple[int, int, str]]] = defaultdict(list)
        self._anywhere: list[str] = []  # without offsets in their names: they may have copies of any
        for name in replayed:
            if match := _match(name):
                self._unread[match["place"]].append((int(match["first"]), int(match["last"]), name))
            else:
                self._anywhere.append(name)

    def _recall(self, name: str) -> None:
        """Read the replayed objects that may hold copies of what the object of this name holds."""
        while self._anywhere:
            self.add(self._pieces(self._anywhere.pop()))
        match = _match(name)
        if match is None:
            for others in self._unread.values():
                while others:
                    self.add(self._pieces(others.pop()[2]))
            return
        first, last = int(match["first"]), int(match["last"])
        others = self._unread[match["place"]]
        for other in [other for other in others if other[0] <= last and first <= other[1]]:
            others.remove(other)
            self.add(self._pieces(other[2]))

    def add(self, pieces: Iterable[Failed | Unparseable]) -> None:
        """Add failures that were replayed just now."""
        for piece in pieces:
            if isinstance(piece, Failed) and (identity := piece.identity):
                self._found.add(identity)

    def copies(self, name: str, pieces: Sequence[Failed | Unparseable]) -> frozenset[int]:
        """Return the indices of copies in the object `name`: of what was replayed, or came before in the object."""
        self._recall(name)
        found, here = set[int](), set[tuple[object, ...]]()
        for index, piece in enumerate(pieces):
            if isinstance(piece, Failed) and (identity := piece.identity):
                if identity in self._found or identity in here:
                    found.add(index)
                here.add(identity)
        return frozenset(found)


def _match(name: str) -> re.Match[str] | None:
    return _NAME.fullmatch(name.rpartition("/")[2])
