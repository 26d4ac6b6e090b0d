"""The function's settings: read once from its environment, all checked, then frozen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from lmdp.cloud.firehose_sink import MAX_RECORD_BYTES
from lmdp.core.column_names import KEY_STYLES, KeyStyle, key_overhead, styled
from lmdp.core.pipeline import TransformSettings
from lmdp.core.specification import MAX_ROW_BYTES, Spec
from lmdp.errors import SettingsError
from lmdp.support.settings_reader import Reader, is_direct, message_limits
from lmdp.support.specification_file import configured_spec

if TYPE_CHECKING:
    from lmdp.snowflake.streaming.settings import WriterSettings

# https://docs.aws.amazon.com/general/latest/gr/rande.html
_REGION: Final = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+")
# https://docs.aws.amazon.com/firehose/latest/APIReference/API_CreateDeliveryStream.html
_STREAM: Final = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_STREAM_IS: Final = "the name of a Firehose stream"
_STYLE_IS: Final = f"one of {', '.join(KEY_STYLES)}"
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html (key identifiers)
_KMS_KEY: Final = re.compile(r"(arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:(key|alias)/|alias/)?[\w/-]{1,256}")

# A pipe ends an execution, its target's part included, after 5 minutes:
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-batching-concurrency.html
_PIPE_SECONDS: Final = 300.0
# Each call holds up to 4 MiB, so that 32 of them are 128 MiB: the memory of the smallest function.
_MAX_CONCURRENCY: Final = 32
# A message for which the function runs out of memory is redelivered again and again. So reading a message may take a
# quarter of the memory, and its rows an eighth as JSON, which is three eighths next to it.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
_MEMORY: Final = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"
_MEMORY_MIB: Final = 1024  # the default: the stacks' own


@dataclass(frozen=True, slots=True)
class Settings:
    """The function's settings.

    `row_spec` is the specification with its fields named as the rows' keys; `margin` is the time in seconds that is
    reserved for the end of an invocation. `writer`: rows go straight to Snowflake, and there is no `stream`.
    """

    region: str
    stream: str
    bucket: str
    prefix: str
    kms_key: str | None
    concurrency: int
    margin: float
    writer: WriterSettings | None
    row_spec: Spec
    transform: TransformSettings

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read the settings. Raises SettingsError, which names every fault."""
        read = Reader(env)
        given = read.text("SNOWFLAKE_IDENTIFIERS", "|".join(KEY_STYLES), _STYLE_IS, default="quoted")
        spec, writer = _specification(read), _writer(read, env)
        style = writer.identifiers if writer else cast("KeyStyle", given)
        settings = {
            "region": read.text("AWS_REGION", _REGION, "a Region, such as eu-west-1"),
            "stream": "" if is_direct(env) else read.text("LMDP_DELIVERY_STREAM", _STREAM, _STREAM_IS),
            "bucket": read.text("LMDP_REJECTS_BUCKET", _BUCKET, "the name of the error bucket"),
            "kms_key": read.optional("LMDP_REJECTS_KMS_KEY", _KMS_KEY, "a KMS key's ARN, id or alias"),
            "concurrency": read.number("LMDP_FIREHOSE_CONCURRENCY", 1, _MAX_CONCURRENCY, default=8),
            "margin": read.decimal("LMDP_MARGIN_SECONDS", 3, 0.5, _PIPE_SECONDS),
        }
        whole = read.number(_MEMORY, 128, 10_240, default=_MEMORY_MIB) * 2**20
        limits = message_limits(read, max_message_memory=whole // 4, max_message_row_bytes=whole // 8)
        if read.faults or spec is None:
            raise SettingsError.of(read.faults)
        return cls(
            **settings,  # type: ignore[arg-type]  # each is checked above, and required ones are there
            writer=writer,
            prefix=(read.given("LMDP_REJECTS_PREFIX") or "rejects").strip("/") + "/",
            row_spec=styled(spec, style),
            transform=TransformSettings(
                org_id=read.given("LMDP_ORG_ID") or None,
                **limits,
                max_row_bytes=min(MAX_ROW_BYTES, MAX_RECORD_BYTES - key_overhead(spec, style)),
                spec=spec,
                tenant_header=read.given("LMDP_TENANT_HEADER") or None,
            ),
        )


def _writer(read: Reader, env: Mapping[str, str]) -> WriterSettings | None:
    """Return the direct writer's settings; None where rows go through Firehose."""
    chosen = read.given("LMDP_WRITER") or "firehose"
    if chosen == "firehose":
        return None
    if chosen != "snowflake":
        read.fault(f"LMDP_WRITER is {chosen!r}; it is firehose or snowflake")
        return None
    from lmdp.cloud.snowflake_sink import read_key  # noqa: PLC0415 - loads cryptography
    from lmdp.snowflake.streaming.settings import WriterSettings  # noqa: PLC0415 - as above
    from lmdp.sql.settings import SnowflakeSettings  # noqa: PLC0415 - as above

    secret = read.text("SNOWFLAKE_WRITER_KEY_SECRET", re.compile(r"\S+"), "the name or ARN of the writer's secret")
    key = partial(read_key, secret, env.get("AWS_REGION", ""), dict(env))
    try:
        return WriterSettings.from_env(env, SnowflakeSettings.from_env(env), key)
    except SettingsError as error:
        read.fault(str(error))
        return None


def _specification(read: Reader) -> Spec | None:
    try:
        return configured_spec(read.values)
    except SettingsError as error:
        read.fault(str(error))
        return None
