"""Write the names of all settings into src/lmdp/support/settings.txt, for `make docs`.

A setting is declared where it is read: as a name in the code of lmdp, the stacks or the tools or in the Makefile, or as
a field of SnowflakeSettings.
"""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

from lmdp.sql.settings import SnowflakeSettings, variable

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "src/lmdp/support/settings.txt"
# A version's label in Secrets Manager, and the connector's name of a way to sign in.
_OTHER = {"LMDP_PENDING", "SNOWFLAKE_JWT"}
_NAME = re.compile(r"(LMDP|SNOWFLAKE|RETENTION)(_[A-Z0-9]+)+")


def page() -> str:
    """Return every setting that is read somewhere, sorted, one a line."""
    every = [path for folder in ("src/lmdp", "infra", "tools") for path in (ROOT / folder).rglob("*.py")]
    files = [path for path in every if "node_modules" not in path.parts]  # CDK's templates of projects
    constants = {
        node.value
        for path in files
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME.fullmatch(node.value)
    }
    constants |= {match[0] for match in _NAME.finditer((ROOT / "Makefile").read_text("utf-8"))}
    names = constants - _OTHER | {variable(field.name) for field in fields(SnowflakeSettings)}
    return "\n".join(sorted(names)) + "\n"
