"""Make what is generated: docs/cli.md, columns.md, cookbook.md, the tree in architecture.md, and the list of settings.

`make docs` writes them; `python tools/docs.py --check` only compares, and exits with 1 if one is not current.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools import architecture_docs, cli_docs, column_docs, cookbook_docs, settings_list


def main(words: list[str]) -> int:
    """Write what has changed, or name it. Returns the exit code."""
    changed = []
    for tool in (cli_docs, settings_list, column_docs, cookbook_docs, architecture_docs):
        made = tool.page()
        if not tool.PAGE.exists() or tool.PAGE.read_text("utf-8") != made:
            changed.append(tool.PAGE)
            if not words:
                tool.PAGE.write_text(made, "utf-8")
    if words and changed:
        print(f"not current; run make docs: {', '.join(path.name for path in changed)}", file=sys.stderr)
    return int(bool(words and changed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
