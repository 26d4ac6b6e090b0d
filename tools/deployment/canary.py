"""A canary, by the function that flies one each day: whoever sends it needs no key of Snowflake, and no way to it."""

from __future__ import annotations

from infra.settings import Settings
from tools.deployment.world import Options, World

from lmdp.deployment.secret_shapes import json_object
from lmdp.errors import LmdpError


def canary(settings: Settings, world: World, _options: Options | None = None) -> None:
    """Have a marked row sent, and stop unless it lands. The function notes when it did."""
    function = settings.names.canary_function
    world.say(f"Sending a canary row ({function}); it may take three minutes, or nine where none lands.")
    answer = world.client("lambda").invoke(FunctionName=function, InvocationType="RequestResponse", Payload=b"{}")
    text = answer["Payload"].read().decode()
    done = json_object(text) or {}
    if not done.get("landed"):
        reason = done.get("error") or done.get("errorMessage") or text[:500]
        raise LmdpError(
            f"Stopped: no canary row landed. {reason}\nNothing is lost: what Kafka has waits there. See "
            f"docs/operations.md#canary and the log {settings.names.log_group('canary')}, then run the command again."
        )
    world.say("A canary row landed.")
