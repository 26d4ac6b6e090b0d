"""The direct writer killed at any moment, under every fault that Snowpipe Streaming has: each row is there once."""

from __future__ import annotations

import gzip
import json
import random
import signal
import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from chaos.publishing import publishing
from chaos.scenario import Outcome, Scenario, Site, broken
from lmdp.snowflake.keypair import make_pair, pem
from lmdp.testing.snowpipe import Fault, RandomFaults, SnowpipeDouble, snowpipe_double
from running import lmdp, options, started, until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STALE = "STALE_CONTINUATION_TOKEN_SEQUENCER"
RETRY = "ERR_GENERAL_EXCEPTION_RETRY_REQUEST"
FAULTS = (
    *(
        Fault("append", 429, "ERR_TOO_MANY_REQUESTS"),
        Fault("append", 500, RETRY),
        Fault("append", 503, RETRY, bare=True),
    ),
    *(Fault("append", 503, "upstream connect error", plain=True), Fault("append", 401, "ERR_TOKEN_EXPIRED")),
    *(Fault("append", 409, "ERR_CHANNEL_MUST_BE_REOPENED"), Fault("append", 410, "ERR_PIPE_FAILED_OVER")),
    *(Fault("append", drop=True), Fault("append", lose=True), Fault("append", lose=True), Fault("append", garble=True)),
    Fault("append", hollow=True),
    *(Fault("append", seconds=1.0), Fault("append", 500, RETRY, seconds=0.5)),
    *(Fault("open", 409, "ERR_OPEN_CHANNEL_IN_PROGRESS"), Fault("open", 500, RETRY), Fault("open", lose=True)),
    *(
        Fault("status", 500, RETRY),
        Fault("status", drop=True),
        Fault("status", garble=True),
        Fault("status", 409, "STALE_PIPE_CACHE"),
        Fault("status", 410, "ERR_PIPE_FAILED_OVER"),
        Fault("token", 500, RETRY),
    ),
    *(Fault("hostname", drop=True), Fault("token", lose=True)),
)


_SILENCE_S = 14.0  # the group waits 10 s


def attribute(key: str, value: str) -> dict[str, Any]:
    """Return an attribute."""
    return {"key": key, "value": {"stringValue": value}}


def message(number: int) -> bytes:
    """Return message `number`: of none to three rows, now and then empty, or nothing that can be read."""
    if number % 97 == 3:
        return b"{"
    if number % 11 == 5:
        return b""
    points = [
        {"timeUnixNano": str(1_770_000_000_000_000_000 + number), "asDouble": n, "attributes": [attribute("n", str(n))]}
        for n in range(rows_of(number))
    ]
    scope = {"scope": {"name": "Cpu"}, "metrics": [{"name": f"m-{number}", "gauge": {"dataPoints": points}}]}
    resource = {"attributes": [attribute("hostId", "7")]}
    return json.dumps({"resourceMetrics": [{"resource": resource, "scopeMetrics": [scope]}]}).encode()


def rows_of(number: int) -> int:
    """Return how many rows message `number` has."""
    return 0 if number % 97 == 3 or number % 11 == 5 else number * 7 % 13 % 4


def found(double: SnowpipeDouble) -> Counter[tuple[int, str]]:
    """Return how often each row is in Snowflake: by its message's number, and which of its rows."""
    rows = (json.loads(row) for row in double.committed())
    return Counter((int(row["metric"].removeprefix("m-")), row["attributes"]["n"]) for row in rows)


def rejected(folder: Path) -> set[tuple[int, int]]:
    """Return partition and offset of every reject below a folder."""
    lines = (line for path in folder.rglob("*.gz") for line in gzip.decompress(path.read_bytes()).splitlines())
    sources = (json.loads(line)["source"] for line in lines)
    return {(source["partition"], source["offset"]) for source in sources}


def killed_writer(site: Site, size: tuple[int, int] | None = None) -> Outcome:
    """SIGKILL of `lmdp run --to snowflake` at any moment while messages come, with faults; then it ends by itself."""
    kills, rate = size or site.by_size((5, 1_000), (50, 1_000))
    folder, topic, chance = site.folder(), site.new_topic(4), random.Random(11)
    (folder / "writer.p8").write_bytes(pem(make_pair(2048)))
    words = ("run", "--to", "snowflake", *options(site.broker.access), "--topic", topic, "--org-id", "acme")
    with snowpipe_double(commit_s=0.6, random_faults=RandomFaults(FAULTS, 0.08, 3)) as double:
        env = {"SNOWFLAKE_ACCOUNT_URL": double.url, "SNOWFLAKE_WRITER_KEY_FILE": str(folder / "writer.p8")}
        with publishing(site.broker.access, topic, rate=rate, make=message) as sent:
            seen = [_killed(words, folder, env, double, chance) for _ in range(kills)]
            sent.end()
        done = lmdp(*words, "--until-idle", "--json", folder=folder, given=b"", seconds=600, **env)
        there, happened = found(double), len(double.happened)
        channels = len([channel for channel in double.channels.values() if channel.token])
    wanted = {(number, str(n)) for number in sent.acknowledged for n in range(rows_of(number))}
    unreadable = sum(number % 97 == 3 for number in sent.acknowledged)
    report = json.loads(done.stdout or "{}").get("snowflake", {"reopened": 0, "bytesInFlight": -1})
    rejects = rejected(folder / ".lmdp/rejects")
    return Outcome(
        times=kills + happened,
        messages=len(sent.acknowledged),
        expected_rows=len(wanted),
        found_rows=len(there.keys() & wanted),
        repeats=there.total() - len(there),
        rejects=len(rejects),
        measured=f"{kills} kills, {happened} faults, {channels} channels",
        broken=broken(
            {
                "it did not end with 0": done.returncode == 0,
                "rows that nobody sent": there.keys() <= wanted,
                "rejects are missing": len(rejects) == unreadable,
                "messages were not acknowledged": sent.sent == len(sent.acknowledged),
                "it was not killed in the midst of its work": len({n for n in seen if 0 < n < len(wanted)}) > kills / 2,
                "rows are not committed at the end": report["bytesInFlight"] == 0,
                "a traceback was printed": "Traceback" not in (folder / "stderr").read_text(),
            }
        ),
    )


def shared_writers(site: Site, size: tuple[int, int] | None = None) -> Outcome:
    """Three runs share a topic through a consumer group, under faults; one is killed, ended or silenced, in turns.

    One that was silent for too long has lost its partitions without its knowledge. At the end all are ended, and
    another one reads what is left.
    """
    changes, rate = size or site.by_size((3, 600), (12, 1_000))
    folder, topic, chance = site.folder(), site.new_topic(6), random.Random(13)
    (folder / "writer.p8").write_bytes(pem(make_pair(2048)))
    shared = ("--share", "--group", topic, "--topic", topic, "--org-id", "acme")
    words = ("run", "--to", "snowflake", *shared, *options(site.broker.access))
    ends, writers = list[int](), set[str]()
    with snowpipe_double(commit_s=0.6, random_faults=RandomFaults(FAULTS, 0.04, 5)) as double, ExitStack() as stack:
        env = {"SNOWFLAKE_ACCOUNT_URL": double.url, "SNOWFLAKE_WRITER_KEY_FILE": str(folder / "writer.p8")}

        def start(name: str) -> subprocess.Popen[bytes]:
            (folder / name).mkdir(exist_ok=True)
            return stack.enter_context(started(*words, folder=folder / name, **env))

        with publishing(site.broker.access, topic, rate=rate, make=message) as sent:
            runs = {name: start(name) for name in ("a", "b", "c")}
            for change in range(changes):
                name = "abc"[change % 3]
                writers |= _until_each_writes(double, runs)
                time.sleep(chance.uniform(0.0, 1.5))
                if change % 3 == 2:
                    _silenced(runs[name])
                else:
                    ends += _ended(runs.pop(name), signal.SIGTERM if change % 3 else signal.SIGKILL)
                    runs[name] = start(name)
            sent.end()
        for run in runs.values():
            ends += _ended(run, signal.SIGTERM)
        (folder / "d").mkdir()
        done = lmdp(*words, "--until-idle", "--json", folder=folder / "d", given=b"", seconds=600, **env)
        there, happened = found(double), len(double.happened)
    wanted = {(number, str(n)) for number in sent.acknowledged for n in range(rows_of(number))}
    rejects = set().union(*(rejected(folder / name / ".lmdp/rejects") for name in "abcd"))
    texts = "".join((folder / name / "stderr").read_text() for name in "abc")
    return Outcome(
        times=changes + happened,
        messages=len(sent.acknowledged),
        expected_rows=len(wanted),
        found_rows=len(there.keys() & wanted),
        repeats=there.total() - len(there),
        rejects=len(rejects),
        measured=f"{changes} changes, {happened} faults, {len(writers)} writers",
        broken=broken(
            {
                "it did not end with 0": done.returncode == 0,
                # 3: a fault kept it from an answer. One that had not begun yet has no handler for the signal.
                f"a run that was asked to end did not end well: {ends}": {*ends} <= {0, 3, -signal.SIGTERM},
                "rows that nobody sent": there.keys() <= wanted,
                "rejects are missing": len(rejects) == sum(number % 97 == 3 for number in sent.acknowledged),
                "a traceback was printed": "Traceback" not in texts,
            }
        ),
    )


def _until_each_writes(double: SnowpipeDouble, runs: Mapping[str, subprocess.Popen[bytes]]) -> set[str]:
    """Wait until every run has partitions, and has written; return the last writer to each channel.

    Raises AssertionError when one has ended, or has no partition for long.
    """

    def writers() -> set[str]:
        return {(channel.token or "").rpartition("@")[2] for channel in list(double.channels.values())} - {""}

    def is_so() -> bool:
        last = "".join(writers())
        return all(f".{run.pid}." in last for run in runs.values())

    until(lambda: is_so() or any(run.poll() is not None for run in runs.values()), 120)
    assert all(run.poll() is None for run in runs.values()), "a run has ended by itself"
    return writers()


def _silenced(run: subprocess.Popen[bytes]) -> None:
    """Stop a run for longer than its group waits for it."""
    run.send_signal(signal.SIGSTOP)
    time.sleep(_SILENCE_S)
    run.send_signal(signal.SIGCONT)


def _ended(run: subprocess.Popen[bytes], how: signal.Signals) -> list[int]:
    """End a run; return its exit code where it was asked to end."""
    run.send_signal(how)
    code = run.wait(60)
    return [code] if how is signal.SIGTERM else []


def _killed(
    words: tuple[str, ...], folder: Path, env: Mapping[str, str], double: SnowpipeDouble, chance: random.Random
) -> int:
    """Kill a run soon after it has written something; return how many rows are committed then."""
    before = double.accepted
    # Without a cause of the run's own, as another writer would bring about; more often, it would stop.
    double.script = [Fault("append", 400, STALE)]
    with started(*words, folder=folder, **env) as program:
        until(lambda: double.accepted > before or program.poll() is not None, 240)
        time.sleep(chance.uniform(0.0, 1.5))
        program.send_signal(signal.SIGKILL)
        program.wait()
    return len(double.committed())


SCENARIOS = (
    Scenario(
        "direct writer", "A killed writer to Snowflake resumes with each row once, whatever fails.", killed_writer
    ),
    Scenario("shared topic", "Writers that share a topic hand partitions over with each row once.", shared_writers),
)
