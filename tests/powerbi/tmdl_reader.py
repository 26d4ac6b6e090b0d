"""A small, strict reader of TMDL: objects with a name, properties, children and an expression, by tabs alone."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_OBJECTS = (
    "database", "model", "table", "column", "measure", "partition", "relationship", "expression", "annotation",
    "alternateOf", "ref table", "refreshPolicy",
)  # fmt: skip
_WORDS = "|".join(_OBJECTS)
_NAME = r"(?:'(?:[^']|'')+'|[^\s.:='\"]+)"
_OBJECT = re.compile(rf"(?P<kind>{_WORDS})(?: (?P<name>{_NAME}))?(?: =(?: (?P<value>.+)|(?P<below>)))?")
_PROPERTY = re.compile(r"(?P<name>[a-z][A-Za-z]*)(?:: (?P<value>\S.*)| (?P<source>=))?")
REFERENCE = re.compile(rf"(?P<table>{_NAME})\.(?P<column>{_NAME})")


@dataclass
class Node:
    """An object; a flag such as isHidden is the property `true`."""

    kind: str
    name: str = ""
    value: str | None = None
    about: str = ""
    properties: dict[str, str] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    def all(self, kind: str) -> list[Node]:
        """The children of this kind."""
        return [child for child in self.children if child.kind == kind]


def unquoted(name: str) -> str:
    """A name without its quotes."""
    return name[1:-1].replace("''", "'") if name.startswith("'") else name


def read(text: str) -> list[Node]:
    """The objects of a file. Raises ValueError at whatever is no TMDL of the kinds known here."""
    lines = text.split("\n")
    if lines[-1] != "" or any(line != line.rstrip() for line in lines):
        raise ValueError("a line ends in white space, or the last line has no end")
    root = Node("file")
    _children(root, lines, 0, 0)
    return root.children


def _children(parent: Node, lines: list[str], at: int, depth: int) -> int:
    about: list[str] = []
    while at < len(lines):
        line = lines[at]
        inner = line.lstrip("\t")
        if not line:
            at += 1
            continue
        if inner.startswith(" "):
            raise ValueError(f"line {at + 1} is indented by spaces: {line!r}")
        if len(line) - len(inner) < depth:
            break
        if len(line) - len(inner) > depth:
            raise ValueError(f"line {at + 1} is indented too far: {line!r}")
        if inner.startswith("/// "):
            about.append(inner[4:])
            at += 1
            continue
        at = _one(parent, inner, " ".join(about), lines, at + 1, depth)
        about = []
    return at


def _one(parent: Node, line: str, about: str, lines: list[str], at: int, depth: int) -> int:
    found = _OBJECT.fullmatch(line)
    if found and found["kind"]:
        node = Node(found["kind"], unquoted(found["name"] or ""), found["value"], about)
        parent.children.append(node)
        if found["below"] is not None:
            node.value, at = _expression(lines, at, depth + 2)
        return _children(node, lines, at, depth + 1)
    said = _PROPERTY.fullmatch(line)
    if said is None:
        raise ValueError(f"line {at} is no object and no property: {line!r}")
    if said["name"] in parent.properties:
        raise ValueError(f"{parent.name} says {said['name']} twice")
    value = said["value"] or "true"
    if said["source"]:
        value, at = _expression(lines, at, depth + 1)
    parent.properties[said["name"]] = value
    return at


def _expression(lines: list[str], at: int, depth: int) -> tuple[str, int]:
    """The lines at least so deep, without that indentation."""
    taken = []
    while at < len(lines) and lines[at].startswith("\t" * depth):
        taken.append(lines[at][depth:])
        at += 1
    if not taken:
        raise ValueError(f"line {at} has no expression")
    return "\n".join(taken), at
