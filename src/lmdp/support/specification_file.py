"""The specification that `LMDP_SPEC` names: the path of a page to use instead of the one in the package."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path

from lmdp.core.specification import Spec, load_spec, parse_spec
from lmdp.errors import SettingsError


def configured_spec(env: Mapping[str, str] = os.environ) -> Spec:
    """Return the specification of `LMDP_SPEC`, else the one in the package; the same page is the same object.

    Raises SettingsError, which names every fault in the page.
    """
    path = env.get("LMDP_SPEC")
    return _read(path) if path else load_spec()


def configured_page() -> str:
    """Return the text of the page of `LMDP_SPEC`, empty where it is the one in the package. Raises SettingsError."""
    path = os.environ.get("LMDP_SPEC")
    return _text(path) if path else ""


def _text(path: str) -> str:
    try:
        if not Path(path).is_file():  # reading a pipe would wait for ever
            raise SettingsError(f"LMDP_SPEC: {path} is not a file")
        return Path(path).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise SettingsError(f"LMDP_SPEC: cannot read {path}: {error}") from error


@functools.cache
def _read(path: str) -> Spec:
    text = _text(path)
    try:
        return parse_spec(text)
    except SettingsError as error:
        raise SettingsError(f"LMDP_SPEC: {path}: {error}") from error
