"""The stacks, synthesised once a session: as the example, and with every option turned on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

ACCOUNT = "000000000000"
STUB_MARK = "lmdp-stub-not-for-deployment"
UUID = "00000000-0000-0000-0000-000000000000"
OTHER_OPTIONS = {
    "LMDP_MSK_CLUSTER_ARN": "",
    "LMDP_MSK_CREATE": "true",
    "LMDP_PRIVATE_CA_ARN": f"arn:aws:acm-pca:us-east-1:{ACCOUNT}:certificate-authority/{UUID}",
    "LMDP_TOPIC_CREATE": "true",
    "LMDP_VPC_ENDPOINTS": "pipes-data,lambda,sts,secretsmanager,kms,kinesis-firehose,ssm",
    "LMDP_VPC_CIDRS": "10.0.0.0/16,10.1.0.0/16",
    "LMDP_SNOWFLAKE_SUBNET_IDS": "subnet-00000000000000004,subnet-00000000000000005",
    "LMDP_SNOWFLAKE_SECURITY_GROUP_ID": "sg-00000000000000004",
    "SNOWFLAKE_PRIVATE_HOST": "example-account.privatelink.snowflakecomputing.com",
    "LMDP_COLLECTOR_CIDRS": "",
    "LMDP_COLLECTOR_SECURITY_GROUP_ID": "sg-00000000000000002",
    "LMDP_RESERVED_CONCURRENCY": "12",
    "LMDP_PERMISSIONS_BOUNDARY_ARN": f"arn:aws:iam::{ACCOUNT}:policy/boundary",
    "LMDP_CLUSTER_RULES": "true",
    "LMDP_IAM_PATH": "/team/",
    "LMDP_ROLE_NAME_PREFIX": "acme-",
    "LMDP_TAGS": "team=observability,cost-center=42",
    "LMDP_ALERT_EMAILS": "on-call@example.com",
    "LMDP_ALERT_URLS": "https://hooks.example.com/lmdp",
    "LMDP_ALERT_CHATBOT_ARN": f"arn:aws:chatbot::{ACCOUNT}:chat-configuration/slack-channel/on-call",
    "LMDP_LOADER_SECRET_ARN": f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:loader-AbCdEf",
    "LMDP_SETUP_SECRET_ARN": f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:setup-AbCdEf",
    "LMDP_KAFKA_SECRET_ARN": f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:kafka-AbCdEf",
    "SNOWFLAKE_PRIVATELINK_VPCE_ID": "com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef0",
    "LMDP_ORG_ID": "",
    "LMDP_ORG_ID_FROM_RESOURCE": "true",
    "LMDP_TERMINATION_PROTECTION": "true",
    "LMDP_CONTAINERS": "receive,write",
    "LMDP_CONTAINER_IMAGE": f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/lmdp@sha256:{'0' * 64}",
    "LMDP_BOOTSTRAP_SERVERS": "b-1.example.com:9094,b-2.example.com:9094",
    "LMDP_RECEIVE_TOPIC": "lm.metrics.received",
    "LMDP_RECEIVE_CERTIFICATE_ARN": f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/{UUID}",
    "LMDP_RECEIVE_CIDRS": "10.30.0.0/16",
    "LMDP_TENANT_HEADER": "lmdp-tenant",
}

DIRECT_OPTIONS = {
    "LMDP_WRITER": "snowflake",
    **{name: OTHER_OPTIONS[name] for name in ("LMDP_SNOWFLAKE_SUBNET_IDS", "LMDP_SNOWFLAKE_SECURITY_GROUP_ID")},
    "SNOWFLAKE_PRIVATE_HOST": OTHER_OPTIONS["SNOWFLAKE_PRIVATE_HOST"],
    "LMDP_VPC_ENDPOINTS": "secretsmanager,ssm",
    "LMDP_VPC_CIDRS": "10.0.0.0/16",
}
"""The function writes straight to Snowflake, from a VPC."""

Templates = dict[str, dict[str, Any]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker synthesises, when tests run in several."""
    for item in items:
        if Path(item.path).is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.xdist_group("infra"))


def example_values() -> dict[str, str]:
    """The settings of the environment `example`, to change in a test."""
    from infra.app import ENVIRONMENTS  # noqa: PLC0415 - only where the infrastructure's packages are

    return dict(ENVIRONMENTS["example"])


def synthesised(folder: Path, values: dict[str, str]) -> Templates:
    """The templates of `example` with these settings, by the stacks' short names."""
    from infra.acknowledgements import acknowledge  # noqa: PLC0415 - as above
    from infra.app import build, open_app  # noqa: PLC0415 - as above
    from infra.settings import Settings  # noqa: PLC0415 - as above

    settings = Settings.read("example", values)
    app = open_app("example", outdir=folder)
    stacks = build(app, settings, stub=True)
    acknowledge(stacks, settings)
    app.synth()
    return {
        name: json.loads((folder / f"{stack.stack_name}.template.json").read_text()) for name, stack in stacks.items()
    }


@pytest.fixture(scope="session", autouse=True)
def _infrastructure() -> None:
    pytest.importorskip("aws_cdk", reason="the packages of the group `infra` are not installed")


@pytest.fixture(scope="session")
def example_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the example's cloud assembly."""
    return tmp_path_factory.mktemp("example")


@pytest.fixture(scope="session")
def example(example_folder: Path) -> Templates:
    """The example's templates by the stacks' short names; no finding of cdk-nag is left."""
    return synthesised(example_folder, example_values())


@pytest.fixture(scope="session")
def full_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the other cloud assembly."""
    return tmp_path_factory.mktemp("full")


@pytest.fixture(scope="session")
def full(full_folder: Path) -> Templates:
    """Templates with a cluster, a topic and endpoints of our own, and with secrets that are there."""
    return synthesised(full_folder, {**example_values(), **OTHER_OPTIONS})


@pytest.fixture(scope="session")
def direct_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the cloud assembly without Firehose."""
    return tmp_path_factory.mktemp("direct")


@pytest.fixture(scope="session")
def direct(direct_folder: Path) -> Templates:
    """Templates without Firehose; no finding of cdk-nag is left."""
    return synthesised(direct_folder, {**example_values(), **DIRECT_OPTIONS})
