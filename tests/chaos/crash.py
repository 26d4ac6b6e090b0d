"""Whatever is killed, whenever: each row is there once."""

from __future__ import annotations

import json
import random
import signal
import time

from chaos.scenario import Outcome, Scenario, Site, broken
from running import bundle, expected, lmdp, options, publish, rows, started, until


def killed_consumer(site: Site) -> Outcome:
    """SIGKILL of `lmdp run` before, within and between transactions over one backlog; then it ends by itself."""
    kills, messages = site.by_size(10, 50), site.by_size(30_000, 120_000)
    folder, topic, chance = site.folder(), site.new_topic(4), random.Random(7)
    home = folder / ".lmdp"
    publish(site.broker.access, topic, map(bundle, range(messages)))
    words = ("run", *options(site.broker.access), "--topic", topic, "--org-id", "acme", "--until-idle", "--json")
    seen = []
    for _ in range(kills):
        (home / "run.sock").unlink(missing_ok=True)
        with started(*words, folder=folder) as program:
            until((home / "run.sock").exists)
            time.sleep(chance.uniform(0.2, 2.0))
            program.send_signal(signal.SIGKILL)
            program.wait()
        seen.append(int(rows(home, "select count(*) as n from row_events")[0]["n"]))
    assert len({count for count in seen if 0 < count < messages}) >= 2, "it was not killed in the midst of its work"
    done = lmdp(*words, folder=folder, seconds=300)
    instances = [row["i"] for row in rows(home, 'select "instance" as i from row_events')]
    report = json.loads(done.stdout)
    (loads,) = rows(home, "select sum(ROWS)::INT as r, sum(NEXT_OFFSET - FIRST_OFFSET)::INT as m from loads")
    return Outcome(
        times=kills,
        messages=messages,
        expected_rows=messages,
        found_rows=len(set(instances)),
        repeats=len(instances) - len(set(instances)),
        rejects=report["rejectedMessages"],
        broken=broken(
            {
                "it did not end with 0": done.returncode == 0,
                "rows went back": seen == sorted(seen),
                "other rows are there": sorted(set(instances)) == expected(range(messages)),
                "LOADS does not add up": loads == {"r": messages, "m": messages},
                "the report tells of duplicates": report["duplicates"] == 0,
                "a traceback was printed": "Traceback" not in (folder / "stderr").read_text(),
            }
        ),
    )


SCENARIOS = (Scenario("consumer killed", "A killed `lmdp run` goes on with each row once.", killed_consumer),)
