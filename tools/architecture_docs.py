"""Write the tree of src/lmdp into docs/architecture.md, for `make docs`.

A file's line is the first sentence of its docstring, or of the comment at its top.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
SOURCES = ROOT / "src" / "lmdp"

_BLOCK = re.compile(r"(<!-- tree: .*? -->\n).*?(<!-- end of the tree -->)", re.DOTALL)
_SHOWN = {".py", ".sql", ".toml"}
_WIDTH = 32


def tree(folder: Path = SOURCES, depth: int = 0) -> Iterator[str]:
    """Yield a line for each package and file, packages first."""
    indent = "  " * depth
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_file(), path.name)):
        if path.is_dir() and any(file.suffix in _SHOWN for file in path.rglob("*")):
            yield _line(f"{indent}{path.name}/", _summary(path / "__init__.py"))
            yield from tree(path, depth + 1)
        elif path.suffix in _SHOWN and (depth == 0 or path.name != "__init__.py"):
            yield _line(f"{indent}{path.name}", _summary(path))


def _line(name: str, summary: str) -> str:
    return f"{name:<{_WIDTH}} {summary}".rstrip()


def _summary(path: Path) -> str:
    """Return the first sentence of a module's docstring, or of the comment at the top of another file."""
    text = path.read_text("utf-8") if path.exists() else ""
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(text)) or ""
    else:
        lines = (re.match(r"(?:--|#) ?(.*)", line) for line in text.splitlines())
        text = "\n".join(line[1] for line in lines if line)
    first = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=\.) ", first)[0].rstrip(".")


def page() -> str:
    """Return docs/architecture.md with the current tree."""
    block = "\n".join(("```", "src/lmdp/", *(f"  {line}" for line in tree()), "```", ""))
    return _BLOCK.sub(lambda match: f"{match[1]}{block}{match[2]}", PAGE.read_text("utf-8"))
