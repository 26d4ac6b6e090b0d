"""The Power BI project (PBIP): its template filled in, and written without harming what somebody else wrote.

`template` is the project for DirectQuery, as Power BI Desktop saves it; `template_import` has what an import declares
differently.
https://learn.microsoft.com/en-us/power-bi/developer/projects/projects-overview
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template
from typing import Final

from lmdp.errors import LmdpError, SettingsError

NAME: Final = "lmdp"
MANIFEST: Final = ".lmdp-power-bi.json"

# A host name of an account, with or without PrivateLink; https://docs.snowflake.com/en/user-guide/organizations-connect
_HOST: Final = re.compile(
    r"(?:https://)?(?P<host>[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.snowflakecomputing\.(?:com|cn))/?"
)

# TMDL as Microsoft's serializer writes it: an empty line between two objects, and descriptions above the first line.
_BETWEEN_OBJECTS: Final = re.compile(r"\n\n(?=\t?\S)")
_FIRST_LINE: Final = re.compile(r"^\t?(?P<object>[^\s/=][^=\n]*)", re.MULTILINE)

# An import has hourly points alone, hence no aggregation of them either.
_AGGREGATION: Final = "Points by hour"
_RAW_POINTS: Final = {"Points": ("column Time", "column Value")}

# A refresh reads the days that may have changed (roll-ups are frozen after three) into a partition each, and keeps the
# others, 30 in all: https://learn.microsoft.com/en-us/power-bi/connect-data/incremental-refresh-overview
_REFRESH_POLICY: Final = """\trefreshPolicy
\t\tpolicyType: basic
\t\trollingWindowGranularity: day
\t\trollingWindowPeriods: 30
\t\tincrementalGranularity: day
\t\tincrementalPeriods: 4
\t\tsourceExpression =
"""


@dataclass(frozen=True, slots=True)
class Source:
    """The model's source: the account's host, and the warehouse, database, schema and role to use there."""

    server: str
    warehouse: str
    database: str
    schema: str
    role: str


@dataclass(frozen=True, slots=True)
class Written:
    """Counts of one call: the files of the project, and those among them that changed."""

    folder: Path
    files: int
    changed: int


def server(address: str | None) -> str:
    """Return the account's host name, from its address. Raises SettingsError when it is none of Snowflake's."""
    found = _HOST.fullmatch((address or "").strip())
    if found is None:
        raise SettingsError(
            f"SNOWFLAKE_ACCOUNT_URL (--server) is {address!r}; Power BI needs the account's address, "
            "such as xy12345.snowflakecomputing.com"
        )
    return found["host"].lower()


def files(source: Source, *, imported: bool, lag_minutes: int) -> dict[str, str]:
    """Return the text of every file, by its path in the project's folder. The same arguments give the same text.

    `lag_minutes` is how far the roll-ups may lag behind: a device is silent after twice that.
    """
    values = {name: value.replace('"', '""') for name, value in asdict(source).items()}  # as M quotes it
    values["silent_minutes"] = str(2 * lag_minutes)
    project = _imported(_read("template")) if imported else _read("template")
    return {
        path: Template(text).substitute(values) if path.endswith(".tmdl") else text for path, text in project.items()
    }


def _read(name: str) -> dict[str, str]:
    """Return the text of every file of a template, by its path in it."""
    folder = Path(__file__).parent / name
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in found}


def _imported(project: Mapping[str, str]) -> dict[str, str]:
    """Return the project with each table in Power BI's memory."""
    declared = _read("template_import")
    return {
        path: _imported_objects(Path(path).stem, text, declared.get(path, "")) if path.endswith(".tmdl") else text
        for path, text in project.items()
        if Path(path).stem != _AGGREGATION
    }


def _imported_objects(name: str, text: str, declared: str) -> str:
    """Return a TMDL file with the objects that the import declares in their place, new ones before the partition.

    A table that is read between two times has the policy of incremental refresh. No relationship assumes referential
    integrity, which only makes Snowflake's joins cheaper.
    """
    new = {head: body for head, body in _objects(declared).items() if body != head}  # a mere `table Daily` refers to it
    left_out = _RAW_POINTS.get(name, ())
    objects = {
        head: body
        for head, body in (_objects(text) | new).items()
        if head not in left_out and f"'{_AGGREGATION}'." not in body
    }
    if "RangeStart and" in declared:
        _, query = new[f"partition {name}"].split("source =\n")
        objects[f"table {name}"] += "\n\n" + _REFRESH_POLICY + query.replace("\t\t\t\t", "\t\t\t")
    ordered = sorted(objects, key=lambda head: head.startswith("partition "))
    whole = "\n\n".join(objects[head] for head in ordered) + "\n\n"
    whole = whole.replace(f"ref table '{_AGGREGATION}'\n", "").replace("\trelyOnReferentialIntegrity\n", "")
    return re.sub(r"\tmode: (?:dual|directQuery)\n", "\tmode: import\n", whole)


def _objects(text: str) -> dict[str, str]:
    """Return the objects of a TMDL file by kind and name: a table, its measures, its columns, its partition."""
    bodies = _BETWEEN_OBJECTS.split(text.rstrip("\n"))
    return {first["object"].rstrip(): body for body in bodies if (first := _FIRST_LINE.search(body))}


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
    _list(folder, {**before, **sums})
    changed = [path for path in made if _sum_of(folder / path) != sums[path]]
    for path in changed:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(made[path].encode())
    for path in before.keys() - made.keys():
        (folder / path).unlink(missing_ok=True)
    _list(folder, sums)
    return Written(folder, len(made), len(changed))


def _list(folder: Path, sums: Mapping[str, str]) -> None:
    text = json.dumps({"files": sums}, indent=2, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_bytes(text.encode())


def _manifest(folder: Path) -> dict[str, str]:
    """Return the files that we wrote there, with their checksums. Raises SettingsError when the folder is not ours."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
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
    """Return files of ours that are neither as we left them nor as they will be, and files in the way of ours."""
    found = []
    for path in sorted({*before, *made}):
        now = _sum_of(folder / path)
        new = _sum(made[path].encode()) if path in made else None
        if now not in (None, before.get(path), new):
            found.append(path)
    return found


def _sum_of(file: Path) -> str | None:
    return _sum(file.read_bytes()) if file.exists() else None


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
