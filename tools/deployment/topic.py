"""The topic before the pipe reads it: its shape, what it keeps, and who may do what on it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from infra.settings import Settings
from tools.deployment.world import Options, World

from lmdp.cli.topic import NO_ACL
from lmdp.deployment.checks import json_object
from lmdp.errors import LmdpError

LMDP = str(Path(sys.executable).with_name("lmdp"))
# What a topic that keeps everything counts as: ten years.
_FOREVER_HOURS = 87_600


def check_topic(settings: Settings, world: World, options: Options) -> None:
    """The topic's shape and its ACLs, from here where the brokers can be reached; else the user confirms them."""
    kafka = settings.kafka
    check = [
        "topic", "check", "--topic", kafka.topic, "--partitions", str(kafka.partitions),
        "--retention-hours", str(kafka.retention_hours), "--max-message-bytes", str(kafka.max_message_bytes),
    ]  # fmt: skip
    rights = ["topic", "acls", "--topic", kafka.topic]
    if options.topic_checked:
        _record(settings, world, float(kafka.retention_hours))
        return
    if not os.environ.get("LMDP_BOOTSTRAP_SERVERS"):
        raise LmdpError(
            "Stopped: the brokers are not known here. From a machine in the VPC, with a client certificate, run\n"
            f"  lmdp {' '.join(check)}\n  lmdp {' '.join(rights)} --collector … --reader … --group {kafka.group}\n"
            "then deploy again with TOPIC_CHECKED=1 (or set LMDP_BOOTSTRAP_SERVERS where they can be reached)."
        )
    done = world.keep([LMDP, *check, "--json"], {})
    shape = json_object(done.stdout) or {}
    if done.returncode:
        faults = "\n  - ".join(["", *map(str, shape.get("faults", ()))])
        raise LmdpError(f"Stopped: lmdp {' '.join(check)}: {faults} {done.stderr.strip()}\nFix it, then deploy again.")
    kept = float(shape.get("retention_ms", -1)) / 3_600_000
    _record(settings, world, kept if kept >= 0 else _FOREVER_HOURS)
    done = world.keep([LMDP, *rights], {})
    world.say(done.stdout.strip())
    if done.returncode or NO_ACL in done.stdout:
        raise LmdpError(f"Stopped: lmdp {' '.join(rights)}: see above. {done.stderr.strip()} Then deploy again.")


def _record(settings: Settings, world: World, hours: float) -> None:
    """Note what the topic keeps for the watcher, which publishes it for the lag alarms."""
    world.client("ssm").put_parameter(
        Name=settings.names.retention_parameter, Value=f"{hours:g}", Type="String", Overwrite=True
    )
    world.say(f"The topic {settings.kafka.topic} keeps {hours:g} h at least; the lag alarms count on that.")
