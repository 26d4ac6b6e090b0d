"""Trials at the end of a deployment: a canary row, and an alarm, so that somebody has heard one before it matters."""

from __future__ import annotations

from typing import Any

from infra.settings import Settings
from tools.deployment.runtime import Options, Runtime

from lmdp.deployment.checks import json_object
from lmdp.errors import LmdpError

# Its real state returns at the next evaluation, within five minutes, and is sent, too.
_ALARM = "watcher-errors"


def canary(settings: Settings, runtime: Runtime, _options: Options | None = None) -> None:
    """Have a marked row sent, and stop unless it lands. The function notes when it did.

    Whoever asks for it needs no key of Snowflake, and no way to it.
    """
    function = settings.names.canary_function
    runtime.say(f"Sending a canary row ({function}); it may take three minutes, or nine where none lands.")
    answer = runtime.client("lambda").invoke(FunctionName=function, InvocationType="RequestResponse", Payload=b"{}")
    text = answer["Payload"].read().decode()
    done = json_object(text) or {}
    if not done.get("landed"):
        reason = done.get("error") or done.get("errorMessage") or text[:500]
        raise LmdpError(
            f"Stopped: no canary row landed. {reason}\nNothing is lost: what Kafka has waits there. See "
            f"docs/operations.md#canary and the log {settings.names.log_group('canary')}, then run the command again."
        )
    runtime.say("A canary row landed.")


def test_alarm(settings: Settings, runtime: Runtime) -> None:
    """Raise one alarm by hand, the way that a real one goes, and name who has not confirmed yet."""
    names = settings.names
    topic = names.arn("sns", names.alerts)
    pages = runtime.client("sns").get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
    found: list[dict[str, Any]] = [one for page in pages for one in page["Subscriptions"]]
    waiting = [one["Endpoint"] for one in found if not one["SubscriptionArn"].startswith("arn:")]
    heard = [one["Endpoint"] for one in found if one["SubscriptionArn"].startswith("arn:")]
    chatbot = settings.watch.chatbot_arn
    if chatbot and not any("chatbot" in endpoint for endpoint in heard):
        waiting.append(f"{chatbot}: add the topic {topic} to that channel's configuration")
    runtime.client("cloudwatch").set_alarm_state(
        AlarmName=f"{names.prefix}-{_ALARM}",
        StateValue="ALARM",
        StateReason="A test by make deploy: nobody has to act. The alarm returns to its real state by itself.",
    )
    runtime.say(f"Sent a test alarm ({names.prefix}-{_ALARM}) to {', '.join(heard) or 'nobody'}.")
    for endpoint in waiting:
        runtime.say(f"Not confirmed yet, and did not hear it: {endpoint}")
    if not found and not chatbot:
        runtime.say(
            "Nobody hears an alarm of this environment: set LMDP_ALERT_EMAILS, LMDP_ALERT_URLS or "
            "LMDP_ALERT_CHATBOT_ARN."
        )
