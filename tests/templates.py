"""Reads CloudFormation templates as a reviewer does: by type and property, never by a logical id."""

from __future__ import annotations

import json
from typing import Any

Template = dict[str, Any]
Resource = dict[str, Any]


def of_type(template: Template, kind: str) -> list[Resource]:
    """Every resource of a type."""
    return [resource for resource in template.get("Resources", {}).values() if resource["Type"] == kind]


def only(template: Template, kind: str, **properties: object) -> Resource:
    """The one resource of a type with these properties."""
    found = [
        resource
        for resource in of_type(template, kind)
        if all(resource["Properties"].get(name) == value for name, value in properties.items())
    ]
    assert len(found) == 1, f"{len(found)} resources of {kind} with {properties}"
    return found[0]


def props(resource: Resource) -> dict[str, Any]:
    """The properties of a resource."""
    properties: dict[str, Any] = resource["Properties"]
    return properties


def listed(value: object) -> list[Any]:
    """A policy's value, which may be one thing or a list of them."""
    return value if isinstance(value, list) else [value]


def text(value: object, template: Template | None = None) -> str:
    """A value as text; what CloudFormation fills in stands in angle brackets, as `<type of resource>`."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and len(value) == 1:
        ((function, given),) = value.items()
        if function == "Fn::Join":
            return str(given[0]).join(text(part, template) for part in given[1])
        if function == "Fn::GetStackOutput":
            return f"<{given['StackName'].rpartition('example-')[2]}:{_owner(given['OutputName'])}>"
        if function in ("Ref", "Fn::GetAtt") and template is not None:
            resource = template["Resources"].get(listed(given)[0], {})
            return f"<{resource.get('Type', listed(given)[0])}>"
    return json.dumps(value, sort_keys=True)


def _owner(output: str) -> str:
    """`PublishOutputFnGetAttDataKey12345678Arn9ABCDEF0` is `DataKey`."""
    name = output.removeprefix("PublishOutput").removeprefix("FnGetAtt").removeprefix("Ref")
    for index in range(len(name) - 7):
        if all(letter in "0123456789ABCDEF" for letter in name[index : index + 8]):
            return name[:index]
    return name


def statements(document: Template, template: Template) -> list[str]:
    """A policy's statements, each in one line: sid, effect, actions, resources, principals, the conditions' keys."""
    return [_told(statement, template) for statement in document["Statement"]]


def _told(statement: Template, template: Template) -> str:
    actions = " ".join(sorted(listed(statement["Action"])))
    where = " ".join(sorted(text(resource, template) for resource in listed(statement.get("Resource", []))))
    principal = statement.get("Principal")
    who = f" by {text(principal, template)}" if principal is not None else ""
    conditions = statement.get("Condition", {})
    when = " when " + " ".join(sorted(key for test in conditions.values() for key in test)) if conditions else ""
    return f"{statement.get('Sid', '')} {statement['Effect']}: {actions} on {where}{who}{when}".strip()


def role_statements(template: Template, name: str) -> list[str]:
    """What the role of this name may do, whole."""
    role = only(template, "AWS::IAM::Role", RoleName=name)
    assert "ManagedPolicyArns" not in role["Properties"]
    return [
        told for policy in role["Properties"]["Policies"] for told in statements(policy["PolicyDocument"], template)
    ]
