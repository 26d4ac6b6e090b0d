"""Commands that messages name: the program's own name, and none that another could have registered."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

import lmdp
from lmdp.support.program import at_home, child_environment, module_command, named

SOURCES = Path(lmdp.__file__).parent
COMMANDS = "run|publish|flatten|validate|query|status|replay|certs|topic|snowflake|powerbi|cost|doctor"
# What is no message of this machine: a metric's help, a script and a reject's reason are read on others, and compared.
ELSEWHERE = {"page/prometheus.py", "snowflake/ddl.py", "core/otlp/formats.py"}


def _script(folder: Path, name: str = "lmdp") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize(
    ("called", "path", "name"),
    [
        (".venv/bin/lmdp", "/usr/bin", ".venv/bin/lmdp"),
        ("{home}/.venv/bin/lmdp", "/usr/bin", ".venv/bin/lmdp"),
        ("{home}/.venv/bin/lmdp", "{home}/.venv/bin", "lmdp"),
        ("{home}/.venv/bin/lmdp", "{home}/linked", "lmdp"),
        ("{home}/.venv/bin/lmdp", "{home}/another", ".venv/bin/lmdp"),
        ("{home}/page/__main__.py", "/usr/bin", ".venv/bin/lmdp"),
        ("-c", "{home}/.venv/bin", "lmdp"),
    ],
)
def test_the_name_is_one_that_can_be_typed(called: str, path: str, name: str, tmp_path: Path) -> None:
    """`lmdp` where PATH finds this very program; else the path of its script."""
    script = _script(tmp_path / ".venv" / "bin")
    _script(tmp_path / "another")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "lmdp").symlink_to(script)
    given = Path(called.format(home=tmp_path))
    assert named(given, script.with_name("python"), path.format(home=tmp_path), tmp_path) == name


def test_the_name_elsewhere(tmp_path: Path) -> None:
    """A script that is not below the working folder is named whole and quoted; without one it is the plain name."""
    script = _script(tmp_path / "my tools")
    (tmp_path / "work").mkdir()
    assert named(script, Path("python"), "", tmp_path / "work") == f"'{script}'"
    assert named(Path("-m"), tmp_path / "python", "", tmp_path) == "lmdp"


@pytest.mark.parametrize(
    ("home", "warehouse", "options"),
    [
        (".lmdp", None, ""),
        (".lmdp", ".lmdp/warehouse.duckdb", ""),
        ("/srv/a b", "/srv/a b/warehouse.duckdb", " --home '/srv/a b'"),
        (".lmdp", "/data/m.duckdb", " --warehouse /data/m.duckdb"),
        ("x", "y", " --home x --warehouse y"),
    ],
)
def test_a_command_names_what_is_not_the_default(home: str, warehouse: str | None, options: str) -> None:
    """A command of another home and file is given them, quoted for a shell."""
    assert at_home(Path(home), Path(warehouse) if warehouse else None) == options


def _texts(tree: ast.AST) -> list[tuple[int, str]]:
    """Every literal text of a module, without docstrings and options' help, which are the same on every machine."""
    quiet: set[ast.AST] = set()
    for node in ast.walk(tree):
        kept = [node.value] if isinstance(node, ast.Expr) else []
        if isinstance(node, ast.Call):
            kept += [word.value for word in node.keywords if word.arg == "help"]
            kept += node.args[1:2] if isinstance(node.func, ast.Name) and node.func.id == "option" else []
        quiet |= {inner for one in kept if not isinstance(one, ast.Call) for inner in ast.walk(one)}
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in quiet
    ]


def test_no_message_names_a_command_by_a_fixed_name() -> None:
    """Where PATH has no `lmdp`, a pasted `lmdp status` is 'command not found': messages ask for the name."""
    fixed = [
        f"{path.relative_to(SOURCES)}:{line}: {text}"
        for path in sorted(SOURCES.rglob("*.py"))
        if str(path.relative_to(SOURCES)) not in ELSEWHERE
        for line, text in _texts(ast.parse(path.read_text("utf-8")))
        if re.search(rf"\blmdp (?:{COMMANDS})\b", text)
    ]
    assert fixed == []


def test_nothing_sends_a_person_to_an_index() -> None:
    """No text has this project installed by name: whoever registers that name would be installed."""
    pages = [*SOURCES.rglob("*.py"), *(SOURCES.parents[1] / "docs").rglob("*.md"), SOURCES.parents[1] / "README.md"]
    assert [
        str(path) for path in pages if re.search(r"\b(install|tool run|uvx) '?lmdp\b", path.read_text("utf-8"))
    ] == []


def test_a_child_is_given_no_secret() -> None:
    """What a Java and a Python need, and nothing else."""
    given = {
        "PATH": "/bin",
        "HOME": "/home/me",
        "LC_ALL": "C.UTF-8",
        "JAVA_HOME": "/java",
        "AWS_SECRET_ACCESS_KEY": "x",
        "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE": "x",
        "LMDP_KAFKA_KEY": "x",
        "MY_TOKEN": "x",
    }
    assert set(child_environment(given)) == {"PATH", "HOME", "LC_ALL", "JAVA_HOME"}


@pytest.mark.parametrize("module", ["lmdp.machine.transform_worker", "lmdp.page"])
def test_a_child_runs_nothing_of_the_working_folder(module: str, tmp_path: Path) -> None:
    """Others may write to that folder, and a file there may have the name of one of Python's modules."""
    for name in ("numbers", "secrets", "random"):
        (tmp_path / f"{name}.py").write_text("open('was-run', 'w')\n")
    subprocess.run(
        module_command(module), cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )
    assert not (tmp_path / "was-run").exists()
