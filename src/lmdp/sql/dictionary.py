"""Meanings of the warehouse's tables and columns, and the cookbook of queries: for documents and the page."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from lmdp.core.specification import load_spec

INNER = "What views and roll-ups are made of"
"""The group of tables that queries need not know."""


class Recipe(NamedTuple):
    """A query of the cookbook; `machine`: it reads tables that one machine alone has."""

    title: str
    about: str
    sql: str
    machine: bool


@cache
def groups() -> dict[str, dict[str, str]]:
    """Return the tables and views by group, each with its meaning."""
    return dict(_read("columns.toml")["tables"])


def meaning(column: str) -> str | None:
    """Return the meaning of a column: the specification's text for its own, in either spelling, else ours."""
    ours: dict[str, str] = _read("columns.toml")["columns"]
    return _of_specification().get(column.replace("_", "").upper()) or ours.get(column)


@cache
def recipes() -> tuple[Recipe, ...]:
    """Return the cookbook."""
    return tuple(
        Recipe(one["title"], one["about"], one["sql"].strip(), one.get("machine", False))
        for one in _read("cookbook.toml")["recipe"]
    )


@cache
def _of_specification() -> dict[str, str]:
    return {field.name.upper(): field.about for field in load_spec().fields}


@cache
def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files("lmdp.sql").joinpath(name).read_text("utf-8"))
