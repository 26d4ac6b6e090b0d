"""The promotion rules, ready to run: the specification's sources, sorted by the level that they read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from lmdp.core.attributes import Digest, digester, first
from lmdp.core.otlp.model import Attributes, Value
from lmdp.core.specification import Field, Source, Spec


class Promoted(NamedTuple):
    """The columns that are the same for all datapoints of a scope."""

    columns: tuple[str | None, ...]
    fallback: tuple[str | None, ...]  # for the datapoint columns, where the datapoint has none
    moved: frozenset[tuple[str, str]]  # (level, key) that left their maps
    missing: str  # why a required one has no value; empty where all have


@dataclass(frozen=True, slots=True)
class Rules:
    """What `flatten` asks of the specification."""

    org_id: str | None
    wide: tuple[Field, ...]
    narrow: tuple[Field, ...]
    digest: Callable[[Attributes], Digest]
    metric: Field
    reads_scopes: bool  # whether a column comes from a scope's attributes

    @classmethod
    def of(cls, spec: Spec, org_id: str | None) -> Rules:
        """The rules of `spec`, with `org_id` for the source `setting LMDP_ORG_ID`."""
        narrow = tuple(field for field in spec.promoted if field.per_datapoint)
        return cls(
            org_id=org_id or None,
            wide=tuple(field for field in spec.promoted if not field.per_datapoint),
            narrow=narrow,
            digest=digester(tuple(_sources(field, "datapoint") for field in narrow)),
            metric=spec.column("metric name"),
            reads_scopes=any(_sources(field, "scope") for field in spec.promoted),
        )

    def promote(self, name: str, scope: Mapping[str, Value], resource: Mapping[str, Value]) -> Promoted:
        """Resolve what the scope called `name`, with these attributes, and its resource say of its datapoints."""
        moved: set[tuple[str, str]] = set()
        levels = {
            "scope": scope,
            "resource": resource,
            "scope name": {"": name},
            "setting": {"LMDP_ORG_ID": self.org_id},
        }
        columns = tuple(_resolve(field, levels, moved) for field in self.wide)
        fallback = tuple(_resolve(field, levels, moved) for field in self.narrow)
        missing = [
            why_missing(field) for field, value in zip(self.wide, columns, strict=True) if field.required and not value
        ]
        return Promoted(columns, fallback, frozenset(moved), "; ".join(missing))

    def missing_narrow(self, columns: tuple[str | None, ...]) -> str:
        """Why a required datapoint column has no value; empty where all have."""
        pairs = zip(self.narrow, columns, strict=True)
        return "; ".join(why_missing(field) for field, value in pairs if field.required and value is None)


def why_missing(field: Field) -> str:
    """One line for a person: where the value was looked for."""
    looked = []
    for level in ("datapoint", "scope", "resource"):
        keys = [source.key for source in _sources(field, level)]
        if keys == [field.name]:
            looked.append(f"not in {level} attributes")
        elif keys:
            looked.append(f"none of {', '.join(keys)} in {level} attributes")
    looked += ["the scope has no name" for _ in _sources(field, "scope name")]
    settings = [source.key for source in _sources(field, "setting")]
    looked += [f"{key} is not set" for key in settings]
    remedies = ["give --org-id or set LMDP_ORG_ID" for key in settings if key == "LMDP_ORG_ID"]
    remedies.append(f"add the key that has it to `from` of {field.name} in the specification (LMDP_SPEC)")
    return f"{field.name}: {' and '.join(looked)} ({', or '.join(remedies)})"


def _sources(field: Field, level: str) -> tuple[Source, ...]:
    return tuple(source for source in field.sources if source.level == level)


def _resolve(field: Field, levels: Mapping[str, Mapping[str, Value]], moved: set[tuple[str, str]]) -> str | None:
    for source in field.sources:
        found, key = first((source,), levels.get(source.level, {}))
        if found is not None:
            if key is not None:
                moved.add((source.level, key))
            return found
    return None
