"""What each package may import, as docs/architecture.md draws it: the rows point one way, and there is no cycle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lmdp

SOURCES = Path(lmdp.__file__).parent
SHARED = {"errors", "core", "support", "sql", "certificates"}
MAY_IMPORT = {
    "__init__": {"core"},
    "errors": set(),
    "core": {"errors"},
    "support": {"errors", "core"},
    "sql": {"errors", "core", "support"},
    "certificates": {"errors", "support"},
    "deployment": {"errors", "support"},
    "cloud": {*SHARED, "snowflake"},  # its streaming alone, and no DuckDB: test_zip
    "snowflake": {*SHARED, "machine"},  # the records of its sink's protocol
    "machine": SHARED,
    "testing": {*SHARED, "cloud", "machine", "snowflake"},
    "receive": {*SHARED, "machine"},
    "replay": {*SHARED, "cloud", "machine", "snowflake"},
    "page": {*SHARED, "machine"},
    "doctor": {*SHARED, "deployment", "machine", "receive", "snowflake"},
    "cost": {"errors", "support"},
    "powerbi": {"errors"},
    "cli": {*SHARED, "cost", "deployment", "doctor", "machine", "page", "powerbi", "receive", "replay", "snowflake"},
}


def imported(path: Path) -> set[str]:
    """Return the packages of lmdp that a module imports, wherever in it the import is."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"lmdp.{alias.name}" for alias in node.names] if node.module == "lmdp" else [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("lmdp.")}
    return found


def packages() -> dict[str, list[Path]]:
    """Return every package of lmdp, and the loose modules, with their files."""
    found: dict[str, list[Path]] = {}
    for path in sorted(SOURCES.rglob("*.py")):
        found.setdefault(path.relative_to(SOURCES).parts[0].removesuffix(".py"), []).append(path)
    return found


@pytest.mark.parametrize(("package", "files"), packages().items(), ids=packages())
def test_a_package_imports_what_is_below_it(package: str, files: list[Path]) -> None:
    """Every import of another package is in the table; a package that is new has to be put there."""
    taken = {other for path in files for other in imported(path)} - {package}
    assert taken <= MAY_IMPORT[package]


def test_two_modules_are_loose() -> None:
    """Everything but the errors and the public names is in a package."""
    assert {path.stem for path in SOURCES.glob("*.py")} == {"__init__", "errors"}
