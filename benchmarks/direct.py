"""The direct writer as a whole process: next to Firehose's path and Snowflake's SDK, shared, and without Snowflake.

    python -m benchmarks.direct [--messages N] [--only cost,share,latency,outage]

A real Kafka holds a backlog of N simulated messages, and a double of Snowpipe Streaming takes the rows over TLS.

cost     CPU a row of `lmdp run --to snowflake`; of a program that has the same core and the official SDK (in an
         environment of its own); of the function that a pipe calls, with a double of Firehose and without Kafka
share    rows/s of 1, 2 and 4 runs with --share, from the first row to the last, broker and double on the same cores
latency  from publish to commit, of a few messages a second, where a commit takes 6 s
outage   a day without Snowflake, its waits cut short
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

from benchmarks import functions, kafka, outage, scratch
from lmdp.certificates import development_ca
from lmdp.machine.kafka.producer import Publisher
from lmdp.snowflake.keypair import make_pair, pem
from lmdp.testing.snowpipe import SnowpipeDouble, snowpipe_double

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SDK: Final = ("snowpipe-streaming==1.9.1", "confluent-kafka", "protobuf", "zstandard", "cryptography")
PARTITIONS: Final = 6
_COMMIT_S = 6.0


class Site:
    """Broker, key and certificates of the measurements, and a folder for each run."""

    def __init__(self, broker: kafka.Kafka, folder: Path, messages: int) -> None:
        self.kafka = broker
        self.folder = folder
        self.messages = messages
        self.key = pem(make_pair(2048)).decode()
        self._certs = development_ca.make(folder / "tls")
        self.env = {**os.environ, "SSL_CERT_FILE": str(self._certs.ca.cert)}

    @contextlib.contextmanager
    def double(self, commit_s: float = 0.5) -> Iterator[SnowpipeDouble]:
        """Run a double that keeps no request, and takes as many a second as come."""
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self._certs.server.cert, self._certs.server.key)
        with snowpipe_double(tls=tls, commit_s=commit_s, limited=False) as double:
            double.requests = type(double.requests)(maxlen=1)
            yield double

    def writer(self, double: SnowpipeDouble, topic: str, *more: str) -> subprocess.Popen[str]:
        """Start `lmdp run --to snowflake` in a folder of its own."""
        home = Path(tempfile.mkdtemp(dir=self.folder))
        (home / "writer.p8").write_text(self.key)
        access = self.kafka.broker.access
        tls = [word for name in ("ca", "cert", "key") for word in (f"--{name}", str(getattr(access, name)))]
        words = ["run", "--to", "snowflake", "--topic", topic, "--group", topic, "--org-id", "bench", "--no-page"]
        words += ["--json", "--bootstrap-servers", access.bootstrap_servers, *tls, "--home", str(home), *more]
        env = {**self.env, "SNOWFLAKE_ACCOUNT_URL": double.url, "SNOWFLAKE_WRITER_KEY_FILE": "writer.p8"}
        program = [sys.executable, "-c", "from lmdp.cli.main import main; main()", *words]
        return subprocess.Popen(program, cwd=home, env=env, text=True, stdout=subprocess.PIPE)


def main() -> None:
    """Measure what is asked for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=350_000)
    parser.add_argument("--only", default=",".join(_PARTS))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, kafka.running(Path(name)) as broker:
        site = Site(broker, Path(name), given.messages)
        for part in given.only.split(","):
            _PARTS[part](site)


def _cost(site: Site) -> None:
    backlog = site.kafka.backlog(site.messages, PARTITIONS)
    for name, workers in (("one process", 0), ("two workers", 2)):
        with site.double() as double:
            report, cpu, most = _followed(
                [site.writer(double, backlog.topic, "--until-idle", "--workers", str(workers))], double
            )[0]
        rows = report["rows"]
        print(f"lmdp run --to snowflake, {name}: {cpu / rows * 1e6:.1f} us of CPU a row, {most:.0f} MiB, {rows:,} rows")
    found = _by_sdk(site, backlog)
    print(
        f"the same core and the SDK: {found['cpu'] / found['rows'] * 1e6:.1f} us of CPU a row, "
        f"{found['peakMiB']:.0f} MiB, {found['rows']:,} rows"
    )
    calls = max(1, site.messages // functions.MESSAGES)
    with functions.double():
        command = [sys.executable, "-m", "benchmarks.invoked", "lmdp", str(calls)]
        done = subprocess.run(command, cwd=scratch.ROOT, stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    print(
        f"the function, to Firehose: {found['cpu'] / found['handled'] * 1e6:.1f} us of CPU a row, "
        f"{found['peakMiB']:.0f} MiB, {found['handled']:,} rows"
    )


def _followed(
    runs: Sequence[subprocess.Popen[str]], double: SnowpipeDouble
) -> list[tuple[dict[str, Any], float, float]]:
    """Return each run's report, CPU seconds and most memory in MiB, with its children's, once all have ended."""
    cpu, most = [0.0] * len(runs), [0.0] * len(runs)
    while any(run.poll() is None for run in runs):
        double.rows.clear()
        for number, run in enumerate(runs):
            with contextlib.suppress(psutil.NoSuchProcess):
                every = [parent := psutil.Process(run.pid), *parent.children(recursive=True)]
                most[number] = max(most[number], sum(one.memory_info().rss for one in every) / 2**20)
                cpu[number] = max(cpu[number], sum(sum(one.cpu_times()[:2]) for one in every))
        time.sleep(0.1)
    return [(json.loads(run.communicate()[0]), cpu[number], most[number]) for number, run in enumerate(runs)]


def _by_sdk(site: Site, backlog: kafka.Backlog) -> dict[str, Any]:
    """Write the backlog with the official SDK, from an environment that is made for it."""
    folder = site.folder / "sdk"
    uv = str(scratch.ROOT / ".uv/bin/uv")
    for command in (["venv", "--python", sys.executable, str(folder)], ["pip", "install", *SDK]):
        subprocess.run([uv, "--quiet", *command], env={**os.environ, "VIRTUAL_ENV": str(folder)}, check=True)
    with site.double() as double:
        host, _, port = double.url.removeprefix("https://").partition(":")
        properties = {
            "account": "xy12345", "user": "LM_FIREHOSE_SVC", "private_key": site.key, "scheme": "https",
            "host": host, "port": int(port), "url": double.url, "enable_telemetry_reporting": "false",
        }  # fmt: skip
        given = {
            "kafka": site.kafka.broker.access.config(), "topic": backlog.topic, "partitions": backlog.partitions,
            "messages": backlog.messages, "properties": properties,
        }  # fmt: skip
        env = {**site.env, "PYTHONPATH": f"{scratch.ROOT / 'src'}", "SS_LOG_LEVEL": "error"}
        command = [str(folder / "bin/python"), str(scratch.HERE / "sdk_writer.py")]
        done = subprocess.run(command, input=json.dumps(given), env=env, text=True, capture_output=True, check=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    return found


def _share(site: Site) -> None:
    for count in (1, 2, 4):
        backlog = site.kafka.backlog(site.messages, PARTITIONS)
        with site.double() as double:
            runs = [
                site.writer(double, backlog.topic, "--share", "--until-idle", "--workers", "0") for _ in range(count)
            ]
            while not double.accepted:
                time.sleep(0.02)
            begun, before, last, ended = time.monotonic(), double.accepted, 0, 0.0
            while any(run.poll() is None for run in runs):
                double.rows.clear()
                if double.accepted != last:
                    last, ended = double.accepted, time.monotonic()
                time.sleep(0.02)
        print(f"{count} runs: {(last - before) / (ended - begun):,.0f} rows/s, {last:,} rows")


def _latency(site: Site, seconds: float = 40.0) -> None:
    topic = site.kafka.topic(1)
    with site.double(_COMMIT_S) as double, site.writer(double, topic) as process:
        while not double.channels:
            time.sleep(0.2)
        publisher, polls, ends = Publisher(site.kafka.broker.access, topic), kafka.polled(), time.monotonic() + seconds
        while time.monotonic() < ends:
            for _ in range(5):
                message = next(polls)
                publisher.send(message.value, message.key, message.datapoints)
            time.sleep(0.2)
        publisher.finish()
        time.sleep(_COMMIT_S + 3)
        process.terminate()
        latency = json.loads(process.communicate()[0])["latencyMs"]
    print(f"latency, commits after {_COMMIT_S:g} s: p50 {latency['p50']} ms, p99 {latency['p99']} ms")


def _outage(site: Site) -> None:
    backlog = site.kafka.backlog(min(site.messages, 60_000), PARTITIONS)
    with snowpipe_double(commit_s=0.5) as double:
        found = outage.measure(double, site.kafka.task(backlog), site.key)
        found["there"] = len(double.rows)
    print(
        f"a day without Snowflake: {found['waits']:,} rounds; {found['first']:.0f} MiB at its start, "
        f"{found['most']:.0f} at most, {found['last']:.0f} at its end; {found['there']:,} rows of "
        f"{found['rows']:,} there afterwards"
    )


_PARTS: Final = {"cost": _cost, "share": _share, "latency": _latency, "outage": _outage}


if __name__ == "__main__":
    main()
