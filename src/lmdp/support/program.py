"""The program's own name, as it can be typed here: every command that a message names starts with it."""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

NAME: Final = "lmdp"
HOME: Final = Path(".lmdp")
"""The home of a command that names none."""
WAREHOUSE: Final = "warehouse.duckdb"
_NEEDED: Final = frozenset(
    {
        *("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "USER"),
        *("JAVA_HOME", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"),
        *("PYTHONPATH", "VIRTUAL_ENV", "LMDP_SPEC"),
    }
)


@functools.cache
def program() -> str:
    """Return `lmdp` where PATH finds this program, else the path of its script, quoted for a shell.

    Below the working folder that path is relative, as in `.venv/bin/lmdp`.
    """
    return named(Path(sys.argv[0]), Path(sys.executable), os.environ.get("PATH", os.defpath), Path.cwd())


def at_home(home: Path, warehouse: Path | None = None) -> str:
    """Return the options that a command needs for `home` and its `warehouse`, quoted for a shell; "" by default.

    They follow `program()` and the command's name, so that what is pasted asks the same run.
    """
    options = "" if home == HOME else f" --home {shlex.quote(str(home))}"
    if warehouse is not None and warehouse != home / WAREHOUSE:
        options += f" --warehouse {shlex.quote(str(warehouse))}"
    return options


def module_command(module: str) -> list[str]:
    """Return the command that runs a module of this program, and no file of the working folder: others may own it."""
    return [sys.executable, "-P", "-m", module]


def install_extras() -> str:
    """Return the command that installs what the AWS and Snowflake commands need: from this checkout, never by a name.

    No package index has this project, so whoever registers its name there would be installed.
    """
    checkout = Path(__file__).absolute().parents[3]
    if not (checkout / "Makefile").is_file():
        return "install this version's wheel again, with its extras: 'lmdp-….whl[aws,snowflake]'"
    return "make extras" if checkout == Path.cwd() else f"make -C {shlex.quote(str(checkout))} extras"


def named(called: Path, python: Path, path: str, folder: Path) -> str:
    """Return the name for a program that was started as `called`, by `python`, with PATH, in `folder`."""
    # The page's own process is started by its module; the script lies where its Python does.
    script = called if called.name == NAME else python.with_name(NAME)
    found = shutil.which(NAME, path=path)
    if not script.exists() or (found and Path(found).exists() and script.samefile(found)):
        return NAME
    whole = (folder / script).absolute()
    return shlex.quote(str(whole.relative_to(folder) if whole.is_relative_to(folder) else whole))


def child_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return what a program that is started here needs of `env`: nothing that may hold a secret, as a cloud's keys."""
    return {name: value for name, value in env.items() if name in _NEEDED or name.startswith("LC_")}
