"""The documents, read: the commands, links, headings and settings that stand in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = ("lmdp", "make", "python")

_FENCE = re.compile(r"^( *)```(.*?)^\1```", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(rf"(?:(?:\.venv|/opt/lmdp)/bin/)?(?:{'|'.join(PROGRAMS)}) \S")


@dataclass(frozen=True, slots=True)
class Command:
    """One program with its words, as a page has it; `into` is the file that its output is sent to."""

    words: tuple[str, ...]
    into: str | None = None

    @property
    def program(self) -> str:
        """Its name, without the environment's folder."""
        return self.words[0].rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of code in a page: pipelines one after the other, each of commands."""

    page: str
    text: str
    pipelines: tuple[tuple[Command, ...], ...]


def lines() -> list[Line]:
    """Every line of code that is a command, once, from fenced and indented blocks."""
    found = {}
    for path in PAGES:
        for code in _code(path.read_text("utf-8")):
            text = code.strip().removeprefix("$ ")
            if _COMMAND.match(text) and text not in found:
                found[text] = Line(_name(path), text, _pipelines(text))
    return list(found.values())


def spans() -> list[Line]:
    """Every command within a sentence, once."""
    found = {}
    for path in PAGES:
        for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", _FENCE.sub("", path.read_text("utf-8"))):
            text = " ".join(span.split())
            if _COMMAND.match(text) and text not in found:
                found[text] = Line(_name(path), text, _pipelines(text))
    return list(found.values())


def links(path: Path) -> list[str]:
    """Where the links and pictures of a page lead, those to web sites left out."""
    text = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", path.read_text("utf-8")))
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", target)]


def anchors(path: Path) -> set[str]:
    """What a link to a heading may name, made as GitHub makes it."""
    headings = re.findall(r"^#+ +(.+?) *$", _FENCE.sub("", path.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def fenced(path: Path, mark: str) -> str:
    """The one fenced block of a page whose first line ends with `mark`."""
    blocks = [body.partition("\n") for _, body in _FENCE.findall(path.read_text("utf-8"))]
    (found,) = [content for first, _, content in blocks if first.strip() == mark]
    return str(found)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _code(text: str) -> Iterator[str]:
    text = text.replace("\\\n", " ")
    for _, body in _FENCE.findall(text):
        language, _, content = body.partition("\n")
        if language.strip() in ("", "sh", "bash", "console"):
            yield from content.splitlines()
    yield from (line for line in _FENCE.sub("", text).splitlines() if line.startswith("    "))


def _pipelines(text: str) -> tuple[tuple[Command, ...], ...]:
    """`a | b > file && c`, taken apart; a comment ends it, and <what stands here> is one word."""
    reader = shlex.shlex(re.sub(r"<[^<>]+>", "NAME", text), posix=True, punctuation_chars="|&>;")
    reader.whitespace_split = True
    pipelines: list[tuple[Command, ...]] = []
    commands: list[Command] = []
    words: list[str] = []
    for word in [*reader, ";"]:
        if word not in ("|", "&&", ";"):
            words.append(word)
            continue
        commands.append(_command(words))
        words = []
        if word != "|":
            pipelines.append(tuple(commands))
            commands = []
    return tuple(pipelines)


def _command(words: list[str]) -> Command:
    if ">" in words:
        at = words.index(">")
        return Command(tuple(words[:at]), words[at + 1])
    return Command(tuple(words))
