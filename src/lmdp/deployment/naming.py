"""The names of everything that more than one stack, or a tool, has to know: all follow from the environment's name.

Deterministic names let a policy name what another stack makes, without an export that would tie the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# The account of examples: no account has it, and a deployment refuses it.
PLACEHOLDER_ACCOUNT: Final = "000000000000"

STACKS: Final = (
    "base", "storage", "snowflake-auth", "snowflake-setup", "delivery", "network", "auth", "pipe", "alarms",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one environment in one account and Region."""

    environment: str
    account: str
    region: str

    @property
    def prefix(self) -> str:
        """What every name begins with."""
        return f"lmdp-{self.environment}"

    def stack(self, name: str) -> str:
        """The name of a stack in CloudFormation."""
        return f"{self.prefix}-{name}"

    def arn(self, service: str, resource: str, *, region: str | None = None, account: str | None = None) -> str:
        """An ARN in this account and Region; `region=""` and `account=""` for services that have none."""
        where = self.region if region is None else region
        return f"arn:{self.partition}:{service}:{where}:{self.account if account is None else account}:{resource}"

    @property
    def partition(self) -> str:
        """`aws`: Firehose has a Snowflake destination in no Region of another partition."""
        return "aws"

    # What the rows pass, from end to end.
    @property
    def pipe(self) -> str:
        """The EventBridge pipe."""
        return self.prefix

    @property
    def function(self) -> str:
        """The function that the pipe calls."""
        return f"{self.prefix}-rows"

    @property
    def stream(self) -> str:
        """The Firehose stream."""
        return f"{self.prefix}-rows"

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
    def watcher_function(self) -> str:
        """The function that looks every five minutes."""
        return f"{self.prefix}-watcher"

    @property
    def cluster(self) -> str:
        """The MSK cluster, where this project makes one."""
        return f"{self.prefix}-kafka"

    @property
    def alerts(self) -> str:
        """The SNS topic of alarms."""
        return f"{self.prefix}-alerts"

    def secret(self, what: str) -> str:
        """A secret's name: `snowflake-loader`, `snowflake-setup` or `kafka-client`."""
        return f"{self.prefix}/{what}"

    def role(self, what: str) -> str:
        """A role's name."""
        return f"{self.prefix}-{what}"

    def role_arn(self, what: str) -> str:
        """A role's ARN."""
        return self.arn("iam", f"role/{self.role(what)}", region="")

    def parameter(self, what: str) -> str:
        """An SSM parameter's name."""
        return f"/lmdp/{self.environment}/{what}"

    def log_group(self, what: str) -> str:
        """A log group's name: Lambda's own form for a function, vended logs for a pipe.

        The second needs no resource policy of its own:
        https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/AWS-logs-and-resource-policy.html
        """
        return {
            "function": f"/aws/lambda/{self.function}",
            "setup": f"/aws/lambda/{self.setup_function}",
            "watcher": f"/aws/lambda/{self.watcher_function}",
            "firehose": f"/aws/kinesisfirehose/{self.stream}",
            "pipe": f"/aws/vendedlogs/pipes/{self.pipe}",
            "kafka": f"/aws/vendedlogs/kafka/{self.cluster}",
        }[what]

    def secret_arn(self, what: str) -> str:
        """The ARN of a secret that this project makes; Secrets Manager adds a dash and six characters."""
        return self.arn("secretsmanager", f"secret:{self.secret(what)}-??????")

    @property
    def pipe_arn(self) -> str:
        """The pipe's ARN."""
        return self.arn("pipes", f"pipe/{self.pipe}")

    @property
    def stream_arn(self) -> str:
        """The stream's ARN."""
        return self.arn("firehose", f"deliverystream/{self.stream}")

    @property
    def canary_parameter(self) -> str:
        """When a canary row last landed (ISO 8601); written by the tools, not by CloudFormation."""
        return self.parameter("state/canary-landed")
