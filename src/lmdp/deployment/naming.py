"""The names of everything that more than one stack, or a tool, has to know: all follow from the environment's name.

Deterministic names let a policy name what another stack makes, without an export that would tie the two together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# The account of examples: no account has it, and a deployment refuses it.
PLACEHOLDER_ACCOUNT: Final = "000000000000"

STACKS: Final = (
    "base", "storage", "snowflake-auth", "snowflake-setup", "delivery", "network", "auth", "pipe", "alarms",
)  # fmt: skip
CONTAINERS: Final = "containers"
"""The stack of what runs in containers, where that is asked for."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one environment in one account and Region.

    Roles and policies are made under `iam_path`, which begins and ends with a slash; their names begin with
    `role_prefix`. Some properties of a pipe and of a stream cannot be changed in place: a new revision is a new name,
    under which CloudFormation makes another one.
    """

    environment: str
    account: str
    region: str
    iam_path: str = "/"
    role_prefix: str = ""
    pipe_revision: int = 1
    stream_revision: int = 1

    @property
    def prefix(self) -> str:
        """Return the beginning of every name."""
        return f"lmdp-{self.environment}"

    @property
    def qualifier(self) -> str:
        """The CDK qualifier of this environment, 3 to 10 characters: CDK puts it into the names of its own resources.

        A longer name than fits is replaced by a digest of it; the dash keeps the two kinds apart.
        https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping-customizing.html
        """
        short = f"lm{self.environment}"
        return short if len(short) <= 10 else f"lm-{hashlib.sha256(self.environment.encode()).hexdigest()[:7]}"

    @property
    def toolkit_stack(self) -> str:
        """CDK's own stack for this environment; CDKToolkit stays with the account's other CDK apps."""
        return f"{self.prefix}-toolkit"

    @property
    def assets_bucket_arn(self) -> str:
        """The bucket where CDK puts templates and zips."""
        return f"arn:{self.partition}:s3:::cdk-{self.qualifier}-assets-{self.account}-{self.region}"

    def bootstrap_role_arn(self, role: str) -> str:
        """One of CDK's own roles (`deploy`, `file-publishing`, `lookup`); their names and path are CDK's."""
        return self.arn("iam", f"role/cdk-{self.qualifier}-{role}-role-{self.account}-{self.region}", region="")

    def stack(self, name: str) -> str:
        """The name of a stack in CloudFormation."""
        return f"{self.prefix}-{name}"

    def arn(self, service: str, resource: str, *, region: str | None = None, account: str | None = None) -> str:
        """An ARN in this account and Region; `region=""` and `account=""` for services that have none."""
        where = self.region if region is None else region
        return f"arn:{self.partition}:{service}:{where}:{self.account if account is None else account}:{resource}"

    @property
    def partition(self) -> str:
        """`aws`, the only one that is supported: settings take no ARN and no Region of another."""
        return "aws"

    # What the rows pass, from end to end.
    @property
    def pipe(self) -> str:
        """The EventBridge pipe."""
        return self.prefix + _mark(self.pipe_revision)

    @property
    def function(self) -> str:
        """The function that the pipe calls."""
        return f"{self.prefix}-rows"

    @property
    def stream(self) -> str:
        """The Firehose stream."""
        return f"{self.prefix}-rows{_mark(self.stream_revision)}"

    @property
    def group(self) -> str:
        """The pipe's consumer group: of its own for each revision, since two pipes may not share one.

        https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-msk.html
        """
        return f"{self.prefix}-pipe{_mark(self.pipe_revision)}"

    @property
    def error_bucket(self) -> str:
        """Rejects and failed records; bucket names are global, hence account and Region."""
        return f"{self.prefix}-errors-{self.account}-{self.region}"

    @property
    def error_bucket_arn(self) -> str:
        """Its ARN."""
        return f"arn:{self.partition}:s3:::{self.error_bucket}"

    @property
    def log_bucket(self) -> str:
        """The access logs of the error bucket."""
        return f"{self.prefix}-access-logs-{self.account}-{self.region}"

    @property
    def setup_function(self) -> str:
        """The function that runs the SQL."""
        return f"{self.prefix}-snowflake-setup"

    @property
    def canary_function(self) -> str:
        """The function that sends a canary row each day."""
        return f"{self.prefix}-canary"

    @property
    def watcher_function(self) -> str:
        """The function that looks every five minutes."""
        return f"{self.prefix}-watcher"

    @property
    def cluster(self) -> str:
        """The MSK cluster, where this project makes one."""
        return f"{self.prefix}-kafka"

    @property
    def containers(self) -> str:
        """The ECS cluster of the receiver and the direct writer."""
        return f"{self.prefix}-containers"

    @property
    def writer_group(self) -> str:
        """The direct writer's consumer group."""
        return f"{self.prefix}-write"

    @property
    def receiver(self) -> str:
        """The receiver's load balancer and its targets; their names have 32 characters at most."""
        return f"{self.prefix}-receive"

    @property
    def alerts(self) -> str:
        """The SNS topic of alarms."""
        return f"{self.prefix}-alerts"

    def secret(self, what: str) -> str:
        """A secret's name: `snowflake-loader`, `snowflake-setup`, `kafka-client`, or one of a service in containers."""
        return f"{self.prefix}/{what}"

    def role(self, what: str) -> str:
        """A role's name, without the path."""
        return f"{self.role_prefix}{self.prefix}-{what}"

    def role_arn(self, what: str) -> str:
        """A role's ARN."""
        return self.arn("iam", f"role{self.iam_path}{self.role(what)}", region="")

    def policy(self, what: str) -> str:
        """A managed policy's name, without the path."""
        return f"{self.role_prefix}{self.prefix}-{what}"

    def policy_arn(self, what: str) -> str:
        """A managed policy's ARN."""
        return self.arn("iam", f"policy{self.iam_path}{self.policy(what)}", region="")

    def parameter(self, what: str) -> str:
        """An SSM parameter's name."""
        return f"/lmdp/{self.environment}/{what}"

    def log_group(self, what: str) -> str:
        """A log group's name: Lambda's own form for a function, vended logs for a pipe; the same for every revision.

        The second needs no resource policy of its own:
        https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/AWS-logs-and-resource-policy.html
        """
        return {
            "function": f"/aws/lambda/{self.function}",
            "canary": f"/aws/lambda/{self.canary_function}",
            "setup": f"/aws/lambda/{self.setup_function}",
            "watcher": f"/aws/lambda/{self.watcher_function}",
            "firehose": f"/aws/kinesisfirehose/{self.prefix}-rows",
            "pipe": f"/aws/vendedlogs/pipes/{self.prefix}",
            "kafka": f"/aws/vendedlogs/kafka/{self.cluster}",
            "receive": f"/aws/ecs/{self.prefix}-receive",
            "write": f"/aws/ecs/{self.prefix}-write",
        }[what]

    def secret_arn(self, what: str) -> str:
        """The ARN of a secret that this project makes; Secrets Manager adds a dash and six characters."""
        return self.arn("secretsmanager", f"secret:{self.secret(what)}-??????")

    @property
    def pipe_arn(self) -> str:
        """The pipe's ARN."""
        return self.arn("pipes", f"pipe/{self.pipe}")

    @property
    def pipe_arns(self) -> list[str]:
        """This pipe and its earlier revisions: while one replaces the other, both use the role."""
        made = range(1, self.pipe_revision + 1)
        return [self.arn("pipes", f"pipe/{self.prefix}{_mark(revision)}") for revision in made]

    @property
    def stream_arn(self) -> str:
        """The stream's ARN."""
        return self.arn("firehose", f"deliverystream/{self.stream}")

    @property
    def retention_parameter(self) -> str:
        """Return the parameter with the topic's retention in hours, as `lmdp topic check` last found it."""
        return self.parameter("state/topic-retention-hours")

    @property
    def canary_parameter(self) -> str:
        """Return the parameter with the last landing of a canary row (ISO 8601); CloudFormation does not write it."""
        return self.parameter("state/canary-landed")


def revisions_of(values: Mapping[str, str]) -> tuple[int, int]:
    """Return the pipe's and the stream's revision as settings have them; 1 where nothing usable is set."""
    pipe, stream = (values.get(f"LMDP_{what}_REVISION", "").strip() for what in ("PIPE", "STREAM"))
    return int(pipe) if pipe.isdecimal() else 1, int(stream) if stream.isdecimal() else 1


def _mark(revision: int) -> str:
    return "" if revision == 1 else f"-r{revision}"
