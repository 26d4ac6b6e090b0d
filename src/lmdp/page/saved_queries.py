"""Queries that were saved under a name, in `queries.json` of the home: an object of names and SQL."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from lmdp.errors import LmdpError
from lmdp.support.atomic_files import replace_files
from lmdp.support.opening import read_bytes

FILE: Final = "queries.json"
MOST: Final = 200
LONGEST_NAME: Final = 100
LONGEST_SQL: Final = 100_000


def read(home: Path) -> dict[str, str]:
    """Return the saved queries by name. Raises LmdpError where the file is none of these."""
    path = home / FILE
    try:
        found = msgspec.json.decode(read_bytes(path), type=dict[str, str])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LmdpError(f"{path} cannot be read: {error}. Fix it, or move it away.") from error
    return dict(sorted(found.items()))


def save(home: Path, name: str, sql: str) -> str | None:
    """Save a query under a name; return the one that had it before. Raises LmdpError, with nothing changed."""
    name = name.strip()
    if not 0 < len(name) <= LONGEST_NAME or len(sql) > LONGEST_SQL:
        raise LmdpError(f"a name has 1 to {LONGEST_NAME} characters, a query {LONGEST_SQL:,} at most")
    found = read(home)
    before = found.get(name)
    if before is None and len(found) >= MOST:
        raise LmdpError(f"{MOST} queries are saved, which is the limit; remove one first")
    _write(home, found | {name: sql})
    return before


def remove(home: Path, name: str) -> str | None:
    """Remove a query, and return it; None where there is none of that name. Raises LmdpError, with nothing changed."""
    found = read(home)
    before = found.pop(name, None)
    _write(home, found)
    return before


def _write(home: Path, found: dict[str, str]) -> None:
    content = msgspec.json.format(msgspec.json.encode(dict(sorted(found.items()))), indent=2)
    replace_files((home / FILE, content + b"\n", 0o600))
