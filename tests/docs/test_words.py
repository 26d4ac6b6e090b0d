"""Retired words: no text, comment, docstring, identifier or file name of ours uses one again.

`python tests/docs/test_words.py [FOLDER]` lists what is left below a folder, or counts it by package.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READ = (
    *("src", "infra", "tools", "benchmarks", "docs"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", ".env.example"),
)
SUFFIXES = {"", ".css", ".example", ".js", ".json", ".md", ".py", ".sh", ".sql", ".tmdl", ".toml", ".yml"}
LEFT_OUT = {"kafka_ingest_spec.md": "the specification's words are the contract's", "test_words.py": "this list"}

_GAP = r"[\s#]+"
RETIRED = {
    r"mend(s|ed|ing)?": "fix",
    r"anew": "again; a verb such as recreate, reconnect, reinstall",
    r"told": "reported, shown, printed; as a name, what it holds",
    r"(?<!\.)tell(s|ing)?": "report, show, state, distinguish",  # file.tell() is Python's
    r"keepers?": "owner",
    r"settl(e|es|ed|ing)": "apply, commit, close",
    r"verdicts?": "result",
    r"standing": "status, position",
    rf"stood|stands?(?!{_GAP}(for|alone)\b)": "is, are",
    rf"(go|goes|going|gone|went){_GAP}on": "continue, resume",
    rf"a{_GAP}person": "you, someone, an operator",
    rf"(let|lets|letting){_GAP}go": "release, drop",
    r"revivals?": "restart",
    r"paces?": "rate",
    rf"no{_GAP}room|room{_GAP}(for|on|in|to)": "space",
}
NAMES = {
    r"narrow(s|ed)?": "columns, or what it is narrowed to",
    r"turns": "offset reset",
    r"weigh(s|ed|ing)?": "estimate",
    r"room": "space",
}
"""Plain English in a sentence, but a riddle as a name."""

ALLOWED = {
    r"\(was `[^`]*`\)": "a message as an older version printed it, in the changelog",
}
"""Texts in which a retired word is right, with the reason."""

OPENINGS = "What|How|Where|When|Which|Whether|Who|Whoever|As|Raises|Those|Without|Exposes"
"""No docstring begins so: it begins with an imperative or a noun phrase that stands alone."""

Found = tuple[str, str, str]
"""File and line, the word, and what to write instead."""


def sources() -> Iterator[Path]:
    """Yield the files that are ours to word."""
    for name in READ:
        path = ROOT / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.suffix in SUFFIXES and not {"node_modules", "__pycache__"} & set(file.parts):
                yield file


def split(text: str) -> str:
    """Return a text with its identifiers split into words, on the same lines."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).replace("_", " ")


def retired(text: str, patterns: dict[str, str]) -> Iterator[tuple[int, str, str]]:
    """Yield the line, the word and the replacement of each retired word in a text."""
    for allowed in ALLOWED:
        text = re.sub(allowed, lambda match: "\n" * match[0].count("\n"), text)
    words = split(text)
    for pattern, instead in patterns.items():
        for match in re.finditer(rf"\b({pattern})\b", words, re.IGNORECASE):
            yield words.count("\n", 0, match.start()) + 1, match[0], instead


def in_names(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the same for the identifiers of a Python source, which have more retired words."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            for _, word, instead in retired(token.string, NAMES):
                yield token.start[0], f"{word} (in {token.string})", instead


def found(path: Path) -> list[Found]:
    """Return the retired words in a file and in its name."""
    if path.name in LEFT_OUT:
        return []
    text = path.read_text("utf-8")
    hits = [*retired(text, RETIRED), *((0, word, instead) for _, word, instead in retired(path.stem, RETIRED | NAMES))]
    if path.suffix == ".py":
        hits += in_names(text)
    return [(f"{path.relative_to(ROOT)}:{line}", word, instead) for line, word, instead in sorted(hits)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Mend it, then go\n# on.", ["Mend", "go\n# on"]),
        ("def told_apart(verdicts): ...", ["told", "verdicts"]),
        ("class TurnsKeeper: ...", ["Keeper"]),
        ("understand, namespace, outstanding, recommend: returns; a point stands for 10 s; file.tell()", []),
        ('{"mend": "Fix the clock."}', ["mend"]),
        ("it prints `recreated` (was `made\nanew`), and a person acts", ["a person"]),
    ],
)
def test_words_are_found_where_they_are_words(text: str, words: list[str]) -> None:
    """Across lines and within identifiers, but not within longer words."""
    assert [word for _, word, _ in retired(text, RETIRED)] == words


def test_names_have_more_retired_words() -> None:
    """An English word may be right in a sentence and a riddle as a name."""
    source = '"""Narrow it; return what turns up."""\nnarrow_table = turns'
    assert [word for _, word, _ in in_names(source)] == ["narrow (in narrow_table)", "turns (in turns)"]


def test_no_retired_word_comes_back() -> None:
    """Each hit is shown with its file, its line, and what to write instead."""
    hits = [one for path in sources() for one in found(path)]
    assert not hits, "\n".join(f"{where}: {word!r}; write: {instead}" for where, word, instead in hits)


def openings(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the start of each docstring that begins with one of `OPENINGS`, attributes' included."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(ast.Constant(str(written))) if re.match(rf"({OPENINGS})\b", written):
                yield node.lineno, written[:60]


def test_docstrings_are_found_by_their_opening() -> None:
    """Those of modules, functions and attributes, but no text that is none."""
    source = '"""What it is."""\nA = 1\n"""How many."""\ndef f():\n    """Return what it is."""\n    g("What?")\n'
    assert list(openings(source)) == [(1, "What it is."), (3, "How many.")]


@pytest.mark.parametrize("folder", ["src", "infra", "tools"])
def test_a_docstring_begins_with_an_imperative_or_a_noun(folder: str) -> None:
    """`Return the width`, `Width of a column`: not `How wide it is`."""
    hits = {str(path.relative_to(ROOT)): list(openings(path.read_text("utf-8"))) for path in sources()
            if path.suffix == ".py" and path.relative_to(ROOT).parts[0] == folder}  # fmt: skip
    assert {path: found for path, found in hits.items() if found} == {}


def _package(where: str) -> str:
    return "/".join(where.partition(":")[0].split("/")[: 3 if where.startswith("src/") else 1])


if __name__ == "__main__":
    every = [(where, word) for path in sources() for where, word, _ in found(path)]
    if sys.argv[1:]:
        print("\n".join(f"{where}: {word!r}" for where, word in every if where.startswith(sys.argv[1])))
    else:
        counted = Counter(_package(where) for where, _ in every)
        print("\n".join(f"{count:5} {name}" for name, count in counted.most_common()))
