"""A consumer that is killed at random, again and again, over one backlog."""

from __future__ import annotations

import json
import random
import signal
import time
from typing import TYPE_CHECKING

from running import bundle, expected, lmdp, options, publish, rows, started, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lmdp.local.broker import KafkaBroker

MESSAGES = 30_000
KILLS = 10


def test_every_row_is_there_once_whenever_it_is_killed(
    kafka_broker: KafkaBroker, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """SIGKILL ten times, before, within and between transactions; then the end: each row once, LOADS adds up."""
    name, home, chance = new_topic(4), tmp_path / ".lmdp", random.Random(7)
    publish(kafka_broker.access, name, map(bundle, range(MESSAGES)))
    words = ("run", *options(kafka_broker.access), "--topic", name, "--org-id", "acme", "--until-idle", "--json")
    socket, seen = home / "run.sock", []
    for _ in range(KILLS):
        socket.unlink(missing_ok=True)
        with started(*words, folder=tmp_path) as program:
            until(socket.exists)
            time.sleep(chance.uniform(0.2, 2.0))
            program.send_signal(signal.SIGKILL)
            assert program.wait() == -signal.SIGKILL
        seen.append(int(rows(home, "select count(*) as n from row_events")[0]["n"]))
    assert seen == sorted(seen)
    assert len({count for count in seen if 0 < count < MESSAGES}) >= 2  # it was killed in the midst of it
    done = lmdp(*words, folder=tmp_path)
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert (report["duplicates"], report["rows"]) == (0, MESSAGES - seen[-1])
    instances = rows(home, 'select "instance" as i from row_events')
    assert sorted(row["i"] for row in instances) == expected(range(MESSAGES))
    loads = "select sum(ROWS)::INT as r, sum(NEXT_OFFSET - FIRST_OFFSET)::INT as m, sum(REJECTS)::INT as x from loads"
    assert rows(home, loads) == [{"r": MESSAGES, "m": MESSAGES, "x": 0}]
    assert "Traceback" not in (tmp_path / "stderr").read_text()
