"""What a report is made of, as data: pages, and visuals that show fields of the semantic model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["card", "lineChart", "clusteredBarChart", "tableEx", "slicer"]


@dataclass(frozen=True, slots=True)
class Place:
    """Position and size of a visual on a page of 1280 by 720, in pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Shown:
    """A field of the semantic model: a measure, or a column to group by."""

    table: str
    name: str
    is_measure: bool = False


@dataclass(frozen=True, slots=True)
class Visual:
    """A visual: `roles` say which fields go where (Category, Y, Series, Values); `top` is the field to sort by.

    `kept` filters it to rows in which a column has that value.
    """

    name: str
    kind: Kind
    title: str
    place: Place
    roles: tuple[tuple[str, tuple[Shown, ...]], ...]
    top: Shown | None = None
    kept: tuple[Shown, str] | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page; `recent` filters a date or time column to so many days up to now."""

    name: str
    title: str
    visuals: tuple[Visual, ...]
    recent: tuple[Shown, int]


def column(table: str, name: str) -> Shown:
    """A column, to group by."""
    return Shown(table, name)


def measure(table: str, name: str) -> Shown:
    """A measure."""
    return Shown(table, name, is_measure=True)


def slicer(place: Place, field: Shown) -> Visual:
    """A list to choose from."""
    return Visual(_slug("slicer", field), "slicer", field.name, place, (("Values", (field,)),))


def card(place: Place, field: Shown) -> Visual:
    """One number."""
    return Visual(_slug("card", field), "card", field.name, place, (("Values", (field,)),))


def line(place: Place, title: str, over: Shown, values: tuple[Shown, ...], by: Shown | None = None) -> Visual:
    """Values over time, one line for each member of `by`."""
    roles = [("Category", (over,)), ("Y", values), *([("Series", (by,))] if by else [])]
    return Visual(_slug("line", *values), "lineChart", title, place, tuple(roles))


def bar(place: Place, title: str, by: Shown, value: Shown) -> Visual:
    """A value for each member of `by`, the greatest first."""
    roles = (("Category", (by,)), ("Y", (value,)))
    return Visual(_slug("bar", by, value), "clusteredBarChart", title, place, roles, top=value)


def table(place: Place, title: str, fields: tuple[Shown, ...], top: Shown | None = None) -> Visual:
    """Rows of columns and measures."""
    return Visual(_slug("table", fields[0]), "tableEx", title, place, (("Values", fields),), top)


def _slug(*parts: str | Shown) -> str:
    """A name of word characters and hyphens, 50 at most, as Power BI wants it."""
    words = "-".join(part if isinstance(part, str) else part.name for part in parts).lower()
    kept = "".join(letter if letter.isalnum() else "-" for letter in words)
    return "-".join(word for word in kept.split("-") if word)[:50]
