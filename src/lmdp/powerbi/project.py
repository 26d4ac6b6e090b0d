"""The project (PBIP) as a folder: what is in it, and writing it without harming what somebody else wrote.

https://learn.microsoft.com/en-us/power-bi/developer/projects/projects-overview
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lmdp.errors import LmdpError, SettingsError
from lmdp.powerbi import pbir, tmdl
from lmdp.powerbi.ids import stable_id
from lmdp.powerbi.pages import pages
from lmdp.powerbi.pbir import SCHEMAS
from lmdp.powerbi.semantic_model import semantic_model
from lmdp.powerbi.tmdl import Source

NAME: Final = "lmdp"
MANIFEST: Final = ".lmdp-power-bi.json"

# A host name of an account, with or without PrivateLink; https://docs.snowflake.com/en/user-guide/organizations-connect
_HOST: Final = re.compile(
    r"(?:https://)?(?P<host>[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.snowflakecomputing\.(?:com|cn))/?"
)


@dataclass(frozen=True, slots=True)
class Written:
    """What a call did: the files of the project, and those among them that changed."""

    folder: Path
    files: int
    changed: int


def server(address: str | None) -> str:
    """The account's host name, from its address. Raises SettingsError when it is none of Snowflake's."""
    found = _HOST.fullmatch((address or "").strip())
    if found is None:
        raise SettingsError(
            f"SNOWFLAKE_ACCOUNT_URL (--server) is {address!r}; Power BI needs the account's address, "
            "such as xy12345.snowflakecomputing.com"
        )
    return found["host"].lower()


def files(source: Source, *, imported: bool, lag_minutes: int) -> dict[str, str]:
    """The text of every file, by its path in the project's folder. The same arguments give the same text."""
    model = semantic_model(imported=imported, lag_minutes=lag_minutes)
    definition = tmdl.files(model, source)
    report = {path: _json(part) for path, part in pbir.files(pages()).items()}
    return {
        f"{NAME}.pbip": _json(_pbip()),
        ".gitignore": "**/.pbi/localSettings.json\n**/.pbi/cache.abf\n",
        f"{NAME}.SemanticModel/.platform": _json(_platform("SemanticModel")),
        f"{NAME}.SemanticModel/definition.pbism": _json(_pbism()),
        **{f"{NAME}.SemanticModel/definition/{path}": text for path, text in definition.items()},
        f"{NAME}.Report/.platform": _json(_platform("Report")),
        f"{NAME}.Report/definition.pbir": _json(_pbir()),
        **{f"{NAME}.Report/definition/{path}": text for path, text in report.items()},
    }


def write(folder: Path, made: Mapping[str, str], *, force: bool = False) -> Written:
    """Write the project, over an older one of ours.

    Raises SettingsError, with nothing changed, when the folder holds something else; or, unless `force`, when a file
    of ours was changed since (in Power BI Desktop, say). Files that others added, and ours that are the same, are left.
    """
    before = _manifest(folder)
    edited = [] if force else _edited(folder, before, made)
    if edited:
        raise SettingsError(
            f"{len(edited)} files in {folder} were changed since lmdp wrote them, such as {edited[0]}.\n"
            "Nothing was written. Name another folder (--output), or give these changes up with --force."
        )
    try:
        return _put(folder, made, before)
    except OSError as error:
        raise LmdpError(f"{folder} could not be written: {error.strerror}; fix that, then run it again") from error


def _put(folder: Path, made: Mapping[str, str], before: Mapping[str, str]) -> Written:
    # First the list, so that a run that breaks off can be run again.
    sums = {path: _sum(text.encode()) for path, text in sorted(made.items())}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).write_bytes(_json({"files": {**before, **sums}}).encode())
    changed = 0
    for path, text in made.items():
        file = folder / path
        if _sum_of(file) != sums[path]:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
            changed += 1
    for path in before.keys() - made.keys():
        (folder / path).unlink(missing_ok=True)
    (folder / MANIFEST).write_bytes(_json({"files": sums}).encode())
    return Written(folder, len(made), changed)


def _manifest(folder: Path) -> dict[str, str]:
    """The files that we wrote there, with their checksums. Raises SettingsError when the folder is not ours."""
    if folder.is_dir() and not any(folder.iterdir()):
        return {}
    if not folder.exists():
        return {}
    try:
        listed = json.loads((folder / MANIFEST).read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        raise SettingsError(
            f"{folder} is there, and lmdp did not write it (it has no {MANIFEST}). Nothing was written; "
            "name another folder with --output."
        ) from None
    return {
        path: text for path, text in listed.items() if ".." not in Path(path).parts and not Path(path).is_absolute()
    }


def _edited(folder: Path, before: Mapping[str, str], made: Mapping[str, str]) -> list[str]:
    """Files of ours that are neither as we left them nor as they will be, and files in the way of ours."""
    found = []
    for path in sorted({*before, *made}):
        now = _sum_of(folder / path)
        new = _sum(made[path].encode()) if path in made else None
        if now not in (None, before.get(path), new):
            found.append(path)
    return found


def _sum_of(file: Path) -> str | None:
    try:
        return _sum(file.read_bytes())
    except FileNotFoundError:
        return None


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _pbip() -> dict[str, object]:
    return {
        "$schema": f"{SCHEMAS}/pbip/pbipProperties/1.0.0/schema.json",
        "version": "1.0",
        "artifacts": [{"report": {"path": f"{NAME}.Report"}}],
        "settings": {"enableAutoRecovery": True},
    }


def _pbism() -> dict[str, object]:
    return {
        "$schema": f"{SCHEMAS}/item/semanticModel/definitionProperties/1.0.0/schema.json",
        "version": "4.2",
        "settings": {},
    }


def _pbir() -> dict[str, object]:
    return {
        "$schema": f"{SCHEMAS}/item/report/definitionProperties/2.0.0/schema.json",
        "version": "4.0",
        "datasetReference": {"byPath": {"path": f"../{NAME}.SemanticModel"}},
    }


def _platform(kind: str) -> dict[str, object]:
    return {
        "$schema": f"{SCHEMAS}/gitIntegration/platformProperties/2.0.0/schema.json",
        "metadata": {"type": kind, "displayName": NAME},
        "config": {"version": "2.0", "logicalId": stable_id("item", kind)},
    }
