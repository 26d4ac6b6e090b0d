"""Write the names of all settings into src/lmdp/support/settings.txt: `python tools/settings_list.py`.

A setting is declared where it is read: as a name in the code of lmdp, the stacks or the tools or in the Makefile, or as
a field of SnowflakeSettings. With --check nothing is written; the exit code is 1 if the file is out of date.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import fields
from pathlib import Path

from lmdp.sql.settings import SnowflakeSettings, variable

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "src/lmdp/support/settings.txt"
# A version's label in Secrets Manager, and the connector's name of a way to sign in.
_OTHER = {"LMDP_PENDING", "SNOWFLAKE_JWT"}
_NAME = re.compile(r"(LMDP|SNOWFLAKE|RETENTION)(_[A-Z0-9]+)+")


def declared() -> list[str]:
    """Return every setting that is read somewhere, sorted."""
    files = [path for folder in ("src/lmdp", "infra", "tools") for path in (ROOT / folder).rglob("*.py")]
    constants = {
        node.value
        for path in files
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME.fullmatch(node.value)
    }
    constants |= {match[0] for match in _NAME.finditer((ROOT / "Makefile").read_text("utf-8"))}
    return sorted(constants - _OTHER | {variable(field.name) for field in fields(SnowflakeSettings)})


def main(words: list[str]) -> int:
    """Write the list, or check that it is current. Returns the exit code."""
    made = "\n".join(declared()) + "\n"
    if words == ["--check"]:
        if FILE.read_text("utf-8") == made:
            return 0
        print(f"{FILE.name} is out of date; make it again: python tools/settings_list.py", file=sys.stderr)
        return 1
    FILE.write_text(made, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
