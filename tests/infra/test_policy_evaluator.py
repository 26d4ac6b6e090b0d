"""The evaluator of IAM policies by itself: a table of documented cases."""

from __future__ import annotations

from typing import Any

import pytest

from policy_evaluator import Decision, Document, Request, decide


def _policy(*statements: dict[str, Any]) -> Document:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(action: str = "iam:*", resource: str = "*", **condition: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, "Condition": condition}


def _allow_when(operator: str, keys: dict[str, Any]) -> dict[str, Any]:
    return {**_allow(), "Condition": {operator: keys}}


def _deny(action: str = "iam:*", resource: str = "*", **condition: Any) -> dict[str, Any]:
    return {**_allow(action, resource, **condition), "Effect": "Deny"}


ROLE, OTHER = "arn:aws:iam::111122223333:role/lmdp-dev-rows", "arn:aws:iam::111122223333:role/lmdp-dev2-rows"
MINE = "arn:aws:iam::111122223333:role/lmdp-dev-*"
B = "iam:PermissionsBoundary"
NONE: dict[str, Any] = {}

CASES: list[tuple[str, list[dict[str, Any]], str, str, dict[str, Any], Decision]] = [
    ("nothing is allowed by default", [], "iam:GetRole", ROLE, NONE, "implicit deny"),
    ("an allow", [_allow()], "iam:GetRole", ROLE, NONE, "allow"),
    ("actions ignore case", [_allow("IAM:getrole")], "iam:GetRole", ROLE, NONE, "allow"),
    ("a star within an action", [_allow("iam:Get*Role")], "iam:GetRole", ROLE, NONE, "allow"),
    ("another action", [_allow("iam:GetRole")], "iam:GetRolePolicy", ROLE, NONE, "implicit deny"),
    ("a separator keeps neighbours out", [_allow(resource=MINE)], "iam:GetRole", OTHER, NONE, "implicit deny"),
    ("resources keep case", [_allow(resource=MINE.upper())], "iam:GetRole", ROLE, NONE, "implicit deny"),
    ("a question mark is one character", [_allow(resource=f"{ROLE[:-1]}?")], "iam:GetRole", ROLE, NONE, "allow"),
    ("a deny wins", [_allow(), _deny("iam:GetRole")], "iam:GetRole", ROLE, NONE, "explicit deny"),
    ("a deny elsewhere does not", [_allow(), _deny(resource=OTHER)], "iam:GetRole", ROLE, NONE, "allow"),
    ("NotResource spares", [_allow(), {"Effect": "Deny", "Action": "iam:*", "NotResource": MINE}],
     "iam:GetRole", ROLE, NONE, "allow"),
    ("NotResource covers the rest", [_allow(), {"Effect": "Deny", "Action": "iam:*", "NotResource": MINE}],
     "iam:GetRole", OTHER, NONE, "explicit deny"),
    ("NotAction spares", [_allow(), {"Effect": "Deny", "NotAction": ["iam:Get*"], "Resource": "*"}],
     "iam:GetRole", ROLE, NONE, "allow"),
    ("NotAction covers the rest", [_allow(), {"Effect": "Deny", "NotAction": ["iam:Get*"], "Resource": "*"}],
     "iam:DeleteRole", ROLE, NONE, "explicit deny"),
    ("a key with the value", [_allow(StringEquals={B: "b"})], "iam:CreateRole", ROLE, {B: "b"}, "allow"),
    ("a key with one of the values", [_allow(StringEquals={B: ["a", "b"]})], "iam:CreateRole", ROLE, {B: "b"}, "allow"),
    ("a key with another value", [_allow(StringEquals={B: "b"})], "iam:CreateRole", ROLE, {B: "c"}, "implicit deny"),
    ("a missing key", [_allow(StringEquals={B: "b"})], "iam:CreateRole", ROLE, NONE, "implicit deny"),
    ("a missing key, if exists", [_allow(StringEqualsIfExists={B: "b"})], "iam:CreateRole", ROLE, NONE, "allow"),
    ("a wrong key, if exists", [_allow(StringEqualsIfExists={B: "b"})], "iam:CreateRole", ROLE, {B: "c"},
     "implicit deny"),
    ("key names ignore case", [_allow(StringEquals={B.lower(): "b"})], "iam:CreateRole", ROLE, {B: "b"}, "allow"),
    ("every key of an operator", [_allow(StringEquals={B: "b", "x": "y"})], "iam:CreateRole", ROLE, {B: "b"},
     "implicit deny"),
    ("every operator", [_allow(StringEquals={B: "b"}, StringLike={"x": "y"})], "iam:CreateRole", ROLE, {B: "b"},
     "implicit deny"),
    ("a negated operator without the key", [_allow(), _deny(StringNotEquals={B: "b"})], "iam:CreateRole", ROLE, NONE,
     "explicit deny"),
    ("a negated operator with the value", [_allow(), _deny(StringNotEquals={B: "b"})], "iam:CreateRole", ROLE,
     {B: "b"}, "allow"),
    ("none of the negated values", [_allow(), _deny(StringNotEquals={B: ["a", "b"]})], "iam:CreateRole", ROLE,
     {B: "b"}, "allow"),
    ("StringEquals knows no star", [_allow(StringEquals={"x": "y*"})], "iam:GetRole", ROLE, {"x": "yz"},
     "implicit deny"),
    ("StringLike does", [_allow(StringLike={"x": "y*"})], "iam:GetRole", ROLE, {"x": "yz"}, "allow"),
    ("ARNs are matched part by part", [_allow(ArnLike={"x": "arn:aws:*:role/lmdp"})], "iam:GetRole", ROLE,
     {"x": "arn:aws:iam::1:role/lmdp"}, "implicit deny"),
    ("ArnEquals is ArnLike", [_allow(ArnEquals={"x": "arn:aws:iam::*:role/l*"})], "iam:GetRole", ROLE,
     {"x": "arn:aws:iam::1:role/lmdp"}, "allow"),
    ("Bool", [_allow(Bool={"x": "true"})], "iam:GetRole", ROLE, {"x": "True"}, "allow"),
    ("Null asks for absence", [_allow(Null={"x": "true"})], "iam:GetRole", ROLE, NONE, "allow"),
    ("Null asks for presence", [_allow(Null={"x": "false"})], "iam:GetRole", ROLE, NONE, "implicit deny"),
    ("any of many", [_allow_when("ForAnyValue:StringEquals", {"x": "a"})], "iam:GetRole", ROLE, {"x": ["a", "b"]},
     "allow"),
    ("all of many", [_allow_when("ForAllValues:StringEquals", {"x": "a"})], "iam:GetRole", ROLE, {"x": ["a", "b"]},
     "implicit deny"),
    ("any of none", [_allow_when("ForAnyValue:StringEquals", {"x": "a"})], "iam:GetRole", ROLE, NONE, "implicit deny"),
    ("all of none", [_allow_when("ForAllValues:StringEquals", {"x": "a"})], "iam:GetRole", ROLE, NONE, "allow"),
]  # fmt: skip


@pytest.mark.parametrize(("statements", "action", "resource", "context", "decision"),
                         [case[1:] for case in CASES], ids=[case[0] for case in CASES])  # fmt: skip
def test_a_policy_decides(
    statements: list[dict[str, Any]], action: str, resource: str, context: dict[str, Any], decision: Decision
) -> None:
    """Each rule of IAM's evaluation logic alone."""
    assert decide(Request(action, resource, context), [_policy(*statements)]) == decision


@pytest.mark.parametrize(
    ("policy", "boundary", "decision"),
    [
        (_policy(_allow("*")), _policy(_allow("s3:*")), "implicit deny"),
        (_policy(), _policy(_allow("*")), "implicit deny"),
        (_policy(_allow("*")), _policy(_allow("iam:GetRole")), "allow"),
        (_policy(_allow("*")), _policy(_allow("*"), _deny("iam:GetRole")), "explicit deny"),
    ],
)
def test_a_boundary_caps(policy: Document, boundary: Document, decision: Decision) -> None:
    """What both allow is allowed; a boundary gives nothing by itself."""
    assert decide(Request("iam:GetRole", ROLE), [policy], boundary) == decision


@pytest.mark.parametrize(
    "statement",
    [_allow(DateLessThan={"x": "y"}), _allow(resource="arn:aws:s3:::${aws:username}"), {**_allow(), "Principal": "*"}],
    ids=["operator", "variable", "element"],
)
def test_what_is_not_known_is_refused(statement: dict[str, Any]) -> None:
    """An element that the evaluator does not know is an error, and no decision."""
    with pytest.raises((KeyError, ValueError)):
        decide(Request("iam:GetRole", ROLE, {"x": "y"}), [_policy(statement)])
