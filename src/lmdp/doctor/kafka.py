"""Kafka as this machine reaches it: does it answer, is the topic there, and has it the right shape."""

from __future__ import annotations

from lmdp.doctor.context import NET_S, Place
from lmdp.doctor.result import Verdict, not_tried, ok, refused, wrong
from lmdp.errors import LmdpError
from lmdp.support.program import program


def topic(place: Place) -> Verdict:
    """The topic's shape, asked of the broker that is named, or of the one that runs under the home."""
    from lmdp.machine.embedded_kafka.broker import running_access  # noqa: PLC0415 - as above
    from lmdp.machine.kafka import topics as admin  # noqa: PLC0415 - librdkafka is loaded when needed
    from lmdp.machine.kafka.access import KafkaAccess  # noqa: PLC0415 - as above

    if place.servers is None:
        access = running_access(place.home)
        if access is None:
            return not_tried(f"no broker is named (LMDP_BOOTSTRAP_SERVERS), and none runs under {place.home}")
    else:
        access = KafkaAccess(place.servers, place.ca, place.cert, place.key, plaintext=place.plaintext)
    check = f"{program()} topic check --topic {place.topic}"
    faults = access.faults()
    if faults:
        return wrong(f"not asked: {' '.join(faults)}", f"mend the settings, then: {check}")
    try:
        shape = admin.describe(access, place.topic, seconds=NET_S)
    except LmdpError as error:
        made = f"{program()} topic create --topic {place.topic}"
        return refused(error, made if "does not exist" in str(error) else f"mend what it says, then: {check}")
    off = admin.faults(shape)
    told = f"{access.bootstrap_servers}, {admin.summary(shape)}"
    return wrong(f"{told}. {' '.join(off)}", f"{check} says so, too") if off else ok(told)
