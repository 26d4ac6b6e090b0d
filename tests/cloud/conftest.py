"""What the tests of the AWS half share: credentials that open nothing, a Firehose double, and an S3 on loopback."""

from __future__ import annotations

import functools
import json
import uuid
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from cloud.names import BUCKET, LOADER, REGION, SECRET, STREAM


@pytest.fixture(autouse=True)
def _credentials(credentials: None) -> None:
    """Each test has Lambda's way to give credentials."""


@pytest.fixture
def double() -> Iterator[Any]:
    """A Firehose; every request that it got is checked by botocore's own model and signature in the end."""
    from lmdp.testing.firehose import firehose_double  # noqa: PLC0415 - only where there is botocore

    with firehose_double(STREAM) as running:
        yield running
    for headers, body in running.requests:
        validate(headers, body)
        verify_signature(running.url, headers, body)


@functools.cache
def firehose_model() -> Any:
    """Botocore's description of the API."""
    from botocore.session import Session  # noqa: PLC0415

    return Session().get_service_model("firehose")


def validate(headers: dict[str, str], body: bytes) -> None:
    """What boto3's own client makes of the same records is the same request."""
    from botocore.serialize import create_serializer  # noqa: PLC0415
    from botocore.validate import ParamValidator  # noqa: PLC0415

    model = firehose_model()
    operation = model.operation_model("PutRecordBatch")
    request = json.loads(body)
    params = {**request, "Records": [{"Data": b64decode(record["Data"])} for record in request["Records"]]}
    report = ParamValidator().validate(params, operation.input_shape)
    assert not report.has_errors(), report.generate_report()
    expected = create_serializer(model.protocol).serialize_to_request(params, operation)
    assert json.loads(expected["body"]) == request
    for name, value in expected["headers"].items():
        assert headers[name.lower()] == value


def verify_signature(url: str, headers: dict[str, str], body: bytes) -> None:
    """Sign what arrived, with the same key and at the same time: the signature is the same."""
    from botocore.auth import SigV4Auth  # noqa: PLC0415
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415
    from botocore.credentials import Credentials  # noqa: PLC0415

    given = headers["authorization"]
    signed = given.split("SignedHeaders=")[1].split(",")[0].split(";")
    request = AWSRequest("POST", url + "/", {name: headers[name] for name in signed}, body)
    request.context["timestamp"] = headers["x-amz-date"]
    signer = SigV4Auth(Credentials("AKIDEXAMPLE", SECRET), "firehose", REGION)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    assert given.endswith(signer.signature(text, request))


@pytest.fixture
def function_env(double: Any, bucket: Any, s3_url: str) -> dict[str, str]:
    """The environment of a function whose stream and bucket are the doubles."""
    return {
        "AWS_REGION": REGION,
        "LMDP_DELIVERY_STREAM": STREAM,
        "LMDP_REJECTS_BUCKET": BUCKET,
        "LMDP_ORG_ID": "acme",
        "AWS_ENDPOINT_URL_FIREHOSE": double.url,
        "AWS_ENDPOINT_URL_S3": s3_url,
        # A logger keeps the stream that it was made with; one of this name has this test's.
        "POWERTOOLS_SERVICE_NAME": f"lmdp-{uuid.uuid4()}",
    }


@pytest.fixture
def pipe() -> Iterator[Any]:
    """A double of Snowpipe Streaming that knows the key."""
    from lmdp.testing.snowpipe import snowpipe_double  # noqa: PLC0415 - few tests need it
    from snowpipe_parts import KEY, public  # noqa: PLC0415 - as above

    with snowpipe_double(key=public(KEY)) as running:
        yield running


@pytest.fixture
def secret(credentials: None, s3_url: str) -> Iterator[Any]:
    """A client of Secrets Manager that holds the key, as `lmdp snowflake keypair` writes it."""
    from botocore.session import Session  # noqa: PLC0415 - only where there is botocore

    from lmdp.snowflake.secrets import KeySecret  # noqa: PLC0415 - as above
    from snowpipe_parts import KEY  # noqa: PLC0415 - as above

    client = Session().create_client("secretsmanager", region_name=REGION, endpoint_url=s3_url)
    client.create_secret(Name=LOADER, SecretString=KeySecret("LM_FIREHOSE_SVC", b64encode(KEY).decode()).json())
    yield client
    client.delete_secret(SecretId=LOADER, ForceDeleteWithoutRecovery=True)
    client.close()


@pytest.fixture
def direct_env(pipe: Any, secret: Any, bucket: Any, s3_url: str) -> dict[str, str]:
    """The environment of a function that writes straight to Snowflake."""
    return {
        "AWS_REGION": REGION,
        "LMDP_WRITER": "snowflake",
        "LMDP_REJECTS_BUCKET": BUCKET,
        "LMDP_ORG_ID": "acme",
        "SNOWFLAKE_ACCOUNT_URL": pipe.url,
        "SNOWFLAKE_DATABASE": "LM_METRICS_DEV",
        "SNOWFLAKE_WRITER_USER": "LM_FIREHOSE_DEV_SVC",
        "SNOWFLAKE_WRITER_KEY_SECRET": LOADER,
        "AWS_ENDPOINT_URL": s3_url,
        "POWERTOOLS_SERVICE_NAME": f"lmdp-{uuid.uuid4()}",
    }
