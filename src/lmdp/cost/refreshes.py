"""Rows that an hourly refresh of each dynamic table reads and changes, by the formulas next to the tables' SQL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from lmdp.cost.basis import data
from lmdp.cost.formula import evaluate

KINDS: Final = ("transient", "permanent")
_UNIT: Final = "rows a refresh"


@dataclass(frozen=True, slots=True)
class Refresh:
    """A dynamic table: its formulas in the bill's names. `window` is the partition of its window, empty for none."""

    table: str
    kind: str  # transient, or permanent: with a week of Fail-safe; empty for a table of the version before
    window: str
    reads: str
    changes: str

    def rows(self, numbers: Mapping[str, float]) -> tuple[float, float]:
        """Return the rows read and changed, where `numbers` has the bill's."""
        return evaluate(self.reads, numbers), evaluate(self.changes, numbers)


def refreshes(version: Literal["now", "before"] = "now") -> tuple[Refresh, ...]:
    """Return the dynamic tables of this version, or of the one before the table of points."""
    names = data("bill.toml")["refresh_names"]

    def in_the_bill(formula: str) -> str:
        return re.sub(r"[a-z_]\w*", lambda name: names.get(name[0], name[0]), formula)

    return tuple(
        Refresh(
            table,
            entry.get("kind", ""),
            entry.get("window", ""),
            in_the_bill(entry["reads"]),
            in_the_bill(entry["changes"]),
        )
        for table, entry in data("refreshes.toml", "lmdp.sql")[version].items()
    )


def steps() -> dict[str, dict[str, str]]:
    """Return steps of a bill: each table's rows, then `refresh_reads`, `refresh_changes` and the changes by kind."""
    tables = refreshes()
    found = {}
    for one in tables:
        found[f"{one.table.lower()}_reads"] = {"formula": one.reads, "unit": _UNIT}
        found[f"{one.table.lower()}_changes"] = {"formula": one.changes, "unit": _UNIT}
    sums = {
        "refresh_reads": [f"{one.table.lower()}_reads" for one in tables],
        "refresh_changes": [f"{one.table.lower()}_changes" for one in tables],
        **{f"{kind}_changes": [f"{one.table.lower()}_changes" for one in tables if one.kind == kind] for kind in KINDS},
    }
    return found | {name: {"formula": " + ".join(parts), "unit": _UNIT} for name, parts in sums.items()}
