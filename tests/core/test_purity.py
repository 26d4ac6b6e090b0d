"""The core does no I/O, reads no clock and knows no vendor."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lmdp

SOURCES = Path(lmdp.__file__).parent
MODULES = [SOURCES / "__init__.py", SOURCES / "errors.py", *sorted((SOURCES / "core").rglob("*.py"))]
VENDORS = [
    "boto3",
    "botocore",
    "duckdb",
    "confluent_kafka",
    "aws_cdk",
    "pyarrow",
    "typer",
    "rich",
    "click",
    "snowflake",
    "sqlglot",
    "cryptography",
    "jgo",
]
IMPURE_MODULES = {
    *("time", "random", "socket", "logging", "subprocess", "threading", "asyncio", "uuid", "os", "io", "pathlib"),
    *("tempfile", "shutil", "glob", "importlib", "pkgutil", "jsonschema"),
}
IMPURE_NAMES = {
    *("now", "utcnow", "today", "time_ns", "monotonic", "urandom", "environ", "getenv", "open"),
    *("read_text", "read_bytes", "write_text", "write_bytes", "print", "input", "__import__"),
}
ALLOWED = "# pure: "
"""Begins the reason, on its line, of what is allowed all the same."""


def test_importing_the_core_loads_no_vendor() -> None:
    """A fresh interpreter that imports lmdp and transforms has none of the edges' packages, even indirectly."""
    program = (
        "import sys, lmdp\n"
        "lmdp.encode(lmdp.transform([lmdp.Message(b'{}')], lmdp.TransformSettings()).rows)\n"
        f"print([name for name in {VENDORS!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def impurities(source: str) -> set[str]:
    """Return the modules and names in `source` that reach outside the program, but for lines that state why."""
    lines = source.splitlines()
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names} & IMPURE_MODULES
        elif isinstance(node, ast.ImportFrom):
            names = {str(node.module).split(".")[0]} & IMPURE_MODULES
        elif isinstance(node, ast.Attribute | ast.Name):
            names = {node.attr if isinstance(node, ast.Attribute) else node.id} & IMPURE_NAMES
        else:
            continue
        if names and ALLOWED not in lines[node.lineno - 1]:
            found |= names
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCES)))
def test_a_core_module_is_pure(path: Path) -> None:
    """No core module reads the clock, the environment or a file, draws random numbers, or reaches outside."""
    assert impurities(path.read_text("utf-8")) == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os\nos.environ['LMDP_SPEC']", {"os", "environ"}),
        ("from os import environ as e", {"os"}),
        ("with open('page') as file: ...", {"open"}),
        ("from importlib import resources", {"importlib"}),
        ("from importlib import resources  # pure: the one loader", set()),
        ("def f():\n    from pathlib import Path\n    Path('page').read_text()", {"pathlib", "read_text"}),
        ("import datetime\ndatetime.datetime.now()", {"now"}),
        ("import re", set()),
    ],
)
def test_an_impurity_is_found(source: str, found: set[str]) -> None:
    """Whatever the form, and wherever in the module."""
    assert impurities(source) == found


def test_the_core_is_all_that_the_path_loads() -> None:
    """A transformation loads exactly the modules of the core, and the errors."""
    program = (
        "import sys, lmdp\n"
        "lmdp.transform([lmdp.Message(b'{}'), lmdp.Message(b'protobuf')], lmdp.TransformSettings())\n"
        "print(*[m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'lmdp'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {Path(name) for name in done.stdout.split()} == {*MODULES}
