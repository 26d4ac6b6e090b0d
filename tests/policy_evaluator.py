"""Evaluate IAM policies as IAM does for one account: an explicit Deny wins, and a boundary caps what an Allow gives.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
It knows the elements and operators that the policies here use, and raises on any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

Document = Mapping[str, Any]
Decision = Literal["allow", "implicit deny", "explicit deny"]
_ELEMENTS = {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}


@dataclass(frozen=True, slots=True)
class Request:
    """One call: `context` has the condition keys that the call carries, each with one value or a list."""

    action: str
    resource: str = "*"
    context: Mapping[str, str | Sequence[str]] = field(default_factory=dict)


def decide(request: Request, policies: Sequence[Document], boundary: Document | None = None) -> Decision:
    """Evaluate the identity's policies, and its boundary where it has one."""
    everything = [*policies, *([boundary] if boundary is not None else [])]
    if any(_matches(request, document, "Deny") for document in everything):
        return "explicit deny"
    allowed = any(_matches(request, document, "Allow") for document in policies)
    within = boundary is None or _matches(request, boundary, "Allow")
    return "allow" if allowed and within else "implicit deny"


def _matches(request: Request, document: Document, effect: str) -> bool:
    return any(_applies(request, one) for one in _listed(document["Statement"]) if one["Effect"] == effect)


def _applies(request: Request, statement: Mapping[str, Any]) -> bool:
    if unknown := statement.keys() - _ELEMENTS:
        raise ValueError(f"{', '.join(sorted(unknown))}: not known here")
    return (
        _named(request.action, statement, "Action", ignore_case=True)
        and _named(request.resource, statement, "Resource", ignore_case=False)
        and all(_holds(operator, keys, request.context) for operator, keys in statement.get("Condition", {}).items())
    )


def _named(value: str, statement: Mapping[str, Any], element: str, *, ignore_case: bool) -> bool:
    listed = _listed(statement.get(element, statement.get(f"Not{element}")))
    return any(_like(value, pattern, ignore_case=ignore_case) for pattern in listed) == (element in statement)


def _holds(operator: str, keys: Mapping[str, Any], context: Mapping[str, str | Sequence[str]]) -> bool:
    """Evaluate one operator: every key has to match, by any of its values. Key names ignore case."""
    quantifier, _, rest = operator.rpartition(":")
    name = rest.removesuffix("IfExists")
    given = {key.lower(): _listed(value) for key, value in context.items()}
    return all(
        _key_holds(quantifier, name, _listed(wanted), given.get(key.lower()), optional=name != rest)
        for key, wanted in keys.items()
    )


def _key_holds(quantifier: str, name: str, wanted: list[Any], values: list[str] | None, *, optional: bool) -> bool:
    if name == "Null":
        return (values is None) == (str(wanted[0]).lower() == "true")
    test, negated = _test(name)
    if not values:
        return optional or negated or quantifier == "ForAllValues"
    hits = [any(test(value, str(one)) for one in wanted) != negated for value in values]
    return any(hits) if quantifier == "ForAnyValue" else all(hits)


def _test(name: str) -> tuple[Callable[[str, str], bool], bool]:
    family = name.replace("Not", "")
    tests: dict[str, Callable[[str, str], bool]] = {
        "StringEquals": str.__eq__,
        "StringLike": _like,
        # ArnEquals and ArnLike behave identically; each of the six parts is matched by itself.
        "ArnLike": _arn_like,
        "ArnEquals": _arn_like,
        "Bool": lambda value, wanted: value.lower() == wanted.lower(),
    }
    return tests[family], family != name


def _arn_like(value: str, pattern: str) -> bool:
    parts, patterns = value.split(":", 5), pattern.split(":", 5)
    return len(parts) == len(patterns) and all(map(_like, parts, patterns))


def _like(value: str, pattern: str, *, ignore_case: bool = False) -> bool:
    if "${" in pattern:
        raise ValueError(f"{pattern}: policy variables are not known here")
    return bool(_compiled(pattern, ignore_case).fullmatch(value))


@lru_cache(maxsize=4096)
def _compiled(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    text = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.compile(text, re.DOTALL | (re.IGNORECASE if ignore_case else re.NOFLAG))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
