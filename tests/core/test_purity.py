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
IMPURE = {"time", "datetime.datetime.now", "random", "socket", "logging", "subprocess", "threading", "asyncio", "uuid"}


def test_importing_the_core_loads_no_vendor() -> None:
    """A fresh interpreter that imports lmdp and transforms has none of the edges' packages, even indirectly."""
    program = (
        "import sys, lmdp\n"
        "lmdp.encode(lmdp.transform([lmdp.Message(b'{}')], lmdp.TransformSettings()).rows)\n"
        f"print([name for name in {VENDORS!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCES)))
def test_a_core_module_reads_no_clock(path: Path) -> None:
    """No core module imports what tells the time, draws lots, or reaches outside."""
    tree = ast.parse(path.read_text("utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not {name.split(".")[0] for name in names} & IMPURE
    assert not called & {"now", "utcnow", "today", "time_ns", "monotonic", "urandom"}


def test_the_core_is_all_that_the_path_loads() -> None:
    """Every module of lmdp that a transformation loads is in the core, but for the errors; and none of it is unused."""
    program = (
        "import sys, lmdp\n"
        "lmdp.transform([lmdp.Message(b'{}'), lmdp.Message(b'protobuf')], lmdp.TransformSettings())\n"
        "print(*[m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'lmdp'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {Path(name) for name in done.stdout.split()} == {*MODULES}
