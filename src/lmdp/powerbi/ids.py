"""Identifiers that are the same each time, so that a project made again differs only where something changed."""

from __future__ import annotations

import uuid
from typing import Final

_SPACE: Final = uuid.UUID("6f1d0b52-7c1e-4f0e-9a54-5f0c0d6b8a11")


def stable_id(*path: str) -> str:
    """A UUID for this path, such as `('column', 'Device', 'Tenant')`."""
    return str(uuid.uuid5(_SPACE, "\x1f".join(path)))
