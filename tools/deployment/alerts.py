"""A test alarm at the end of a deployment, so that somebody has heard one before it matters."""

from __future__ import annotations

from typing import Any

from infra.settings import Settings
from tools.deployment.world import World

# Its real state returns at the next evaluation, within five minutes, and is sent, too.
_ALARM = "watcher-errors"


def test_alarm(settings: Settings, world: World) -> None:
    """Raise one alarm by hand, the way that a real one goes, and name who has not confirmed yet."""
    names = settings.names
    topic = names.arn("sns", names.alerts)
    pages = world.client("sns").get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
    found: list[dict[str, Any]] = [one for page in pages for one in page["Subscriptions"]]
    waiting = [one["Endpoint"] for one in found if not one["SubscriptionArn"].startswith("arn:")]
    heard = [one["Endpoint"] for one in found if one["SubscriptionArn"].startswith("arn:")]
    chatbot = settings.watch.chatbot_arn
    if chatbot and not any("chatbot" in endpoint for endpoint in heard):
        waiting.append(f"{chatbot}: add the topic {topic} to that channel's configuration")
    world.client("cloudwatch").set_alarm_state(
        AlarmName=f"{names.prefix}-{_ALARM}",
        StateValue="ALARM",
        StateReason="A test by make deploy: nobody has to act. The alarm returns to its real state by itself.",
    )
    world.say(f"Sent a test alarm ({names.prefix}-{_ALARM}) to {', '.join(heard) or 'nobody'}.")
    for endpoint in waiting:
        world.say(f"Not confirmed yet, and did not hear it: {endpoint}")
    if not found and not chatbot:
        world.say("Nobody hears an alarm of this environment: set LMDP_ALERT_EMAILS, LMDP_ALERT_URLS or "
                  "LMDP_ALERT_CHATBOT_ARN.")  # fmt: skip
