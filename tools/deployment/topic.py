"""The topics before the deployment reads them: their shape, what they keep, and who may do what on them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from infra.settings import Settings
from tools.deployment.runtime import Options, Runtime

from lmdp.cli.topic import NO_ACL
from lmdp.deployment.checks import json_object
from lmdp.errors import LmdpError

LMDP = str(Path(sys.executable).with_name("lmdp"))
# What a topic that keeps everything counts as: ten years.
_FOREVER_HOURS = 87_600


def check_topic(settings: Settings, runtime: Runtime, options: Options) -> None:
    """Each topic's shape and ACLs, from here where the brokers can be reached; else the user confirms them."""
    topics = list(dict.fromkeys((settings.kafka.topic, *settings.containers.topics.values())))
    if options.topic_checked:
        _confirmed(settings, runtime)
        return
    if not os.environ.get("LMDP_BOOTSTRAP_SERVERS"):
        commands = [
            f"  lmdp {' '.join(part)}\n"
            for topic in topics
            for part in (_shape(settings, topic), [*_acls(topic), *_rights(settings, topic)])
        ]
        raise LmdpError(
            "Stopped: the brokers are not known here. From a machine in the VPC, with a client certificate, run\n"
            f"{''.join(commands)}"
            "then deploy again with TOPIC_CHECKED=1 (or set LMDP_BOOTSTRAP_SERVERS where they can be reached)."
        )
    for topic in topics:
        _check(settings, runtime, topic)


def _shape(settings: Settings, topic: str) -> list[str]:
    """The command that checks a topic; a batch of the largest messages has to fit for the pipe's alone."""
    kafka, check = settings.kafka, ["topic", "check", "--topic", topic]
    kept = ["--retention-hours", str(kafka.retention_hours)]
    if topic != kafka.topic:
        return [*check, *kept]
    size = ["--max-message-bytes", str(kafka.max_message_bytes)]
    return [*check, "--partitions", str(kafka.partitions), *kept, *size]


def _acls(topic: str) -> list[str]:
    return ["topic", "acls", "--topic", topic]


def _rights(settings: Settings, topic: str) -> list[str]:
    """The options that grant the rights on a topic, by the names in the certificates of the deployment."""
    names, of = settings.names, settings.containers.topics
    pipe = ["--collector", "…", "--reader", names.prefix, "--group", settings.kafka.group]
    return [
        *(pipe if topic == settings.kafka.topic else []),
        *(["--collector", f"{names.prefix}-receive"] if topic == of.get("receive") else []),
        *(["--reader", f"{names.prefix}-write", "--group", names.writer_group] if topic == of.get("write") else []),
    ]


def _check(settings: Settings, runtime: Runtime, topic: str) -> None:
    check, rights = _shape(settings, topic), _acls(topic)
    done = runtime.capture([LMDP, *check, "--json"], {})
    shape = json_object(done.stdout) or {}
    if done.returncode:
        faults = "\n  - ".join(["", *map(str, shape.get("faults", ()))])
        raise LmdpError(f"Stopped: lmdp {' '.join(check)}: {faults} {done.stderr.strip()}\nFix it, then deploy again.")
    if topic == settings.kafka.topic:
        kept = float(shape.get("retention_ms", -1)) / 3_600_000
        _record(settings, runtime, kept if kept >= 0 else _FOREVER_HOURS)
    done = runtime.capture([LMDP, *rights], {})
    runtime.say(done.stdout.strip())
    if done.returncode or NO_ACL in done.stdout:
        raise LmdpError(f"Stopped: lmdp {' '.join(rights)}: see above. {done.stderr.strip()} Then deploy again.")


def _confirmed(settings: Settings, runtime: Runtime) -> None:
    """Record the setting as what the topic keeps; never more than was read from the topic, or confirmed, before."""
    name, planned = settings.names.retention_parameter, float(settings.kafka.retention_hours)
    ssm = runtime.client("ssm")
    try:
        recorded = float(ssm.get_parameter(Name=name)["Parameter"]["Value"])
    except ssm.exceptions.ParameterNotFound:
        recorded = planned
    _record(settings, runtime, min(recorded, planned))
    if recorded < planned:
        runtime.say(
            f"LMDP_TOPIC_RETENTION_HOURS is {planned:g}, and {recorded:g} h were recorded before. If lmdp topic check "
            f"finds more: aws ssm put-parameter --name {name} --value {planned:g} --overwrite"
        )


def _record(settings: Settings, runtime: Runtime, hours: float) -> None:
    """Note what the topic keeps for the watcher, which publishes it for the lag alarms."""
    runtime.client("ssm").put_parameter(
        Name=settings.names.retention_parameter, Value=f"{hours:g}", Type="String", Overwrite=True
    )
    runtime.say(f"The topic {settings.kafka.topic} keeps {hours:g} h at least; the lag alarms count on that.")
