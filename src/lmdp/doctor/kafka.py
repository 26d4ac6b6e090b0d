"""Kafka as this machine reaches it: does it answer, is the topic there, and has it the right shape."""

from __future__ import annotations

from lmdp.doctor.context import NET_S, Context
from lmdp.doctor.result import Result, not_tried, ok, refused, wrong
from lmdp.errors import LmdpError
from lmdp.support.program import program


def topic(context: Context) -> Result:
    """The topic's shape, asked of the broker that is named, or of the one that runs under the home."""
    from lmdp.machine.embedded_kafka.broker import running_access  # noqa: PLC0415 - as above
    from lmdp.machine.kafka import topics as admin  # noqa: PLC0415 - librdkafka is loaded when needed
    from lmdp.machine.kafka.access import KafkaAccess  # noqa: PLC0415 - as above

    if context.servers is None:
        access = running_access(context.home)
        if access is None:
            return not_tried(f"no broker is named (LMDP_BOOTSTRAP_SERVERS), and none runs under {context.home}")
    else:
        access = KafkaAccess(context.servers, context.ca, context.cert, context.key, plaintext=context.plaintext)
    check = f"{program()} topic check --topic {context.topic}"
    faults = access.faults()
    if faults:
        return wrong(f"not asked: {' '.join(faults)}", f"fix the settings, then: {check}")
    try:
        shape = admin.describe(access, context.topic, seconds=NET_S)
    except LmdpError as error:
        made = f"{program()} topic create --topic {context.topic}"
        return refused(error, made if "does not exist" in str(error) else f"fix this, then: {check}")
    faults = admin.faults(shape)
    text = f"{access.bootstrap_servers}, {admin.summary(shape)}"
    return wrong(f"{text}. {' '.join(faults)}", f"details: {check}") if faults else ok(text)
