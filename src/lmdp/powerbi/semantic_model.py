"""The semantic model as a whole: its tables, and how they hang together."""

from __future__ import annotations

from itertools import chain

from lmdp.powerbi.dimensions import dimensions
from lmdp.powerbi.facts import facts
from lmdp.powerbi.model import Model, Relationship, Table


def semantic_model(*, imported: bool, lag_minutes: int) -> Model:
    """A model that asks the warehouse (facts) and caches dimensions, or one that imports all but raw points.

    `lag_minutes` is how far the roll-ups may lag behind: a device is called silent after twice that.
    """
    ones = dimensions("import" if imported else "dual")
    many = facts("import" if imported else "directQuery", silent_minutes=2 * lag_minutes)
    all_of_them = chain.from_iterable(_relationships(fact, ones, asked=not imported) for fact in many)
    return Model((*ones, *many), tuple(all_of_them), imported)


def _relationships(fact: Table, ones: tuple[Table, ...], *, asked: bool) -> list[Relationship]:
    """A fact has a relationship with each dimension whose key it has.

    Integrity is assumed where the warehouse is asked, except for Health: canary rows belong to no device.
    """
    there = {column.name for column in fact.columns}
    return [
        Relationship(fact.name, one.name, f"{one.name} key", assumed=asked and fact.name != "Health")
        for one in ones
        if f"{one.name} key" in there
    ]
