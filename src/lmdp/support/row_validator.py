"""Validator of row events: the specification's JSON Schema, and what a schema cannot say."""

from __future__ import annotations

from typing import Any

import msgspec
from jsonschema import Draft202012Validator

from lmdp.core.specification import Spec
from lmdp.core.timestamps import moment
from lmdp.errors import DatapointError


def validator(spec: Spec) -> Draft202012Validator:
    """The specification's schema, ready to check many rows."""
    return Draft202012Validator(spec.schema)


def faults(line: bytes, spec: Spec, checks: Draft202012Validator) -> list[str]:
    """Return the faults of the row event in `line`."""
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return [f"not valid JSON: {error}"]
    found = [f"{error.json_path}: {error.message}" for error in checks.iter_errors(row)]
    return found or _times(row, spec) + _doubles(row, spec)


def _doubles(row: dict[str, Any], spec: Spec) -> list[str]:
    """A number is a double; JSON Schema takes an integer of any length."""
    found = []
    for field in spec.fields:
        if field.type == "number" and field.name in row:
            try:
                float(row[field.name])
            except OverflowError:
                found.append(f"{field.name} is beyond the largest double")
    return found


def _times(row: dict[str, Any], spec: Spec) -> list[str]:
    """The two times of a row are one moment."""
    text, ms = spec.column("time text").name, spec.column("time ms").name
    try:
        meant = moment(int(row[ms]) * 1_000_000).text
    except DatapointError as refused:
        return [refused.text]
    return [] if meant == row[text] else [f"{text} is {row[text]}, but {ms} {row[ms]} is {meant}"]
