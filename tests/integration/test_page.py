"""The page over a real Kafka: what was published is what it shows, and what is behind is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from browsing import browsing
from page.sites import site_in
from running import bundle, options, publish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lmdp.machine.embedded_kafka.broker import KafkaBroker

MESSAGES = 200


def test_the_page_counts_what_kafka_had(
    kafka_broker: KafkaBroker, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """Every message of the topic, none waiting, and the rows and rejects that they became."""
    topic = new_topic(partitions=3)
    publish(kafka_broker.access, topic, [*map(bundle, range(MESSAGES)), b"not OTLP"])
    given = (*options(kafka_broker.access), "--topic", topic, "--org-id", "acme")
    with site_in(tmp_path, None, *given) as site, browsing() as own:
        browser = own.at(site.base, site.token)
        browser.open("/")
        browser.until(lambda: browser.text("duckdb-0") == str(MESSAGES))
        browser.until(lambda: browser.text("kafka-0") == str(MESSAGES + 1))
        browser.until(lambda: (browser.text("kafka-1"), browser.text("kafka-2")) == ("0", "3"))
        browser.until(lambda: "Decode.Malformed" in browser.text("rejects"))
        assert browser.text("source-1") == topic
        assert browser.complaints() == []
