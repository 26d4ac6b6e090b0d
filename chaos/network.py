"""Brokers and networks that are slow, cut or silent: time-outs end every wait, and nothing is lost."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from chaos import firehose
from chaos.proxy import Proxy, Slow, proxy_to
from chaos.scenario import Outcome, Scenario, Site, broken
from lmdp.errors import LmdpError, RunNotFoundError
from lmdp.machine.api import client
from lmdp.machine.embedded_kafka.broker import KafkaBroker, embedded
from lmdp.machine.kafka.access import KafkaAccess
from running import PROGRAM, bundle, environment, expected, lmdp, options, publish, rows, started, until

LOST = "resumes by itself from where it was"
# Under load a second here is several elsewhere; what must not be is a wait without end.
PATIENCE_S = 120.0
STOP_S = 15.0
AWAY = ("does not answer", LOST)


@dataclass(frozen=True, slots=True)
class Net:
    """A real Kafka that its clients reach through a proxy alone, which is the address that it gives them."""

    broker: KafkaBroker
    proxy: Proxy

    @property
    def access(self) -> KafkaAccess:
        """Through the proxy."""
        return dataclasses.replace(self.broker.access, bootstrap_servers=f"localhost:{self.proxy.port}")

    def target(self) -> tuple[str, int]:
        """The address of the broker itself."""
        host, port = self.broker.bootstrap_servers.split(":")
        return host, int(port)


_nets: WeakKeyDictionary[Site, Net] = WeakKeyDictionary()


def net(site: Site) -> Net:
    """The Kafka behind a proxy of this site, started for the first who asks."""
    if site not in _nets:
        proxy = site._parts.enter_context(proxy_to("127.0.0.1", 9))
        # A name, so that it can cease to be known.
        settings = dataclasses.replace(embedded(site.folder()), advertised=f"localhost:{proxy.port}")
        found = Net(site._parts.enter_context(KafkaBroker(settings)), proxy)
        proxy.target = found.target()
        _nets[site] = found
    _nets[site].proxy.become("pass")
    return _nets[site]


@dataclass(slots=True)
class Run:
    """`lmdp run` at work on a topic, whose network is about to be harmed."""

    net: Net
    folder: Path
    topic: str
    program: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        """Its folder."""
        return self.folder / ".lmdp"

    def words(self) -> tuple[str, ...]:
        """Its command line."""
        return ("run", *options(self.net.access), "--topic", self.topic, "--org-id", "acme", "--json")

    def said(self) -> str:
        """Return what it printed."""
        return (self.folder / "stderr").read_text()

    def status(self) -> dict[str, Any]:
        """Return its status now; empty while it starts."""
        with contextlib.suppress(RunNotFoundError, LmdpError):
            return client.status(self.home)
        return {}

    def count(self) -> int:
        """The rows that are committed."""
        return int(self.status().get("rows", 0))

    def trouble(self) -> str | None:
        """Return its trouble; None while it reports none."""
        running = self.status().get("running")
        return running["trouble"] if running else None

    def stop(self) -> tuple[int, bytes, float]:
        """SIGTERM: its exit code, its output, and the seconds until it ended."""
        assert self.program is not None
        begun = time.monotonic()
        self.program.send_signal(signal.SIGTERM)
        out, _ = self.program.communicate(timeout=PATIENCE_S)
        return self.program.returncode, out, time.monotonic() - begun


@contextlib.contextmanager
def running(run: Run, *before: str) -> Iterator[Run]:
    """Start it; `before` are the words of a program that starts it."""
    if not before:
        with started(*run.words(), folder=run.folder) as run.program:
            yield run
        return
    with (run.folder / "stderr").open("ab") as errors:
        words = [*before, *PROGRAM, *run.words()]
        with subprocess.Popen(words, cwd=run.folder, env=environment(), stdout=subprocess.PIPE, stderr=errors) as made:
            run.program = made
            try:
                yield run
            finally:
                made.kill()


Harm = Callable[[Run, int], tuple[int, dict[str, bool], str]]
"""Harms the network of a run with so many messages before it; gives how often, promises, and what was measured."""


def harmed(site: Site, harm: Harm, messages: int, slow: Slow | None = None, before: tuple[str, ...] = ()) -> Outcome:
    """A run over a backlog, harm in its midst, more messages, and an end in order."""
    network, first = net(site), messages * 3 // 4
    run = Run(network, site.folder(), f"chaos.net.{time.monotonic_ns()}")
    network.broker.create_topic(run.topic, 4)
    publish(network.access, run.topic, map(bundle, range(first)))
    network.proxy.become("pass", slow)
    with running(run, *before):
        until(run.count, PATIENCE_S)
        times, promises, measured = harm(run, first)
        network.proxy.become("pass")
        publish(network.access, run.topic, map(bundle, range(first, messages)))
        until(lambda: run.count() >= messages, PATIENCE_S)
        until(lambda: run.trouble() == "", PATIENCE_S)
        code, out, seconds = run.stop()
    return outcome(run, messages, times, measured, {
        **promises,
        "it did not end with 0": code == 0,
        f"it took {seconds:.0f} s to end": seconds < STOP_S,
        "the report does not add up": code != 0 or adds_up(json.loads(out), messages),
    })  # fmt: skip


def adds_up(report: dict[str, Any], messages: int) -> bool:
    """Each message one row, in this run's own words."""
    counts = (report["messages"], report["rows"], report["rejectedMessages"], report["duplicates"])
    return counts == (messages, messages, 0, 0)


def outcome(run: Run, messages: int, times: int, measured: str, promises: dict[str, bool]) -> Outcome:
    """Return what is in the warehouse, and the promises that do not hold."""
    found = [row["i"] for row in rows(run.home, 'select "instance" as i from row_events')]
    return Outcome(
        times,
        messages,
        messages,
        len(set(found)),
        len(found) - len(set(found)),
        0,
        measured,
        broken(
            {
                **promises,
                "other rows are there": sorted(set(found)) == expected(range(messages)),
                "a traceback was printed": "Traceback" not in run.said(),
            }
        ),
    )


def answers(run: Run) -> tuple[bool, float]:
    """Return whether `lmdp status` answers, as a user calls it, and in how many seconds."""
    begun = time.monotonic()
    asked = lmdp("status", "--json", folder=run.folder, seconds=PATIENCE_S)
    return asked.returncode == 0 and json.loads(asked.stdout)["running"] is not None, time.monotonic() - begun


def while_harmed(run: Run, seconds: float, words: tuple[str, ...]) -> tuple[dict[str, bool], str]:
    """Check the promises while nothing goes through: it reports that, with these words, and `lmdp status` answers."""
    begun = time.monotonic()
    until(lambda: words[0] in (run.trouble() or ""), PATIENCE_S)
    reported = time.monotonic() - begun
    answered, took = answers(run)
    there = run.count()
    time.sleep(max(seconds - (time.monotonic() - begun), 0))
    said = " ".join(run.said().split())
    return {
        "`lmdp status` did not answer": answered,
        "it did not say what is wrong": all(word in said for word in words),
        "rows came from nowhere": run.count() == there,
    }, f"said after {reported:.0f} s, status in {took:.1f} s"


def slow_broker(site: Site) -> Outcome:
    """High latency and few bytes a second, from the first message on."""
    messages, rate = site.by_size(4_000, 8_000), 200_000.0

    def harm(run: Run, first: int) -> tuple[int, dict[str, bool], str]:
        begun, there = time.monotonic(), run.count()
        answered, _ = answers(run)
        until(lambda: run.count() >= first, PATIENCE_S)
        seconds = time.monotonic() - begun
        least = 0.5 * (first - there) * len(bundle(0)) / rate
        assert there < first, "nothing was left to be slow"
        assert seconds >= least, "the network was not slow"
        return 1, {"`lmdp status` did not answer": answered}, f"{first - there} rows in {seconds:.0f} s"

    return harmed(site, harm, messages, Slow(0.05, rate))


def cut_again_and_again(site: Site) -> Outcome:
    """Connections reset in the midst of a backlog, each time after another while."""
    cuts, chance = site.by_size(4, 12), random.Random(11)

    def harm(run: Run, first: int) -> tuple[int, dict[str, bool], str]:
        done, between = 0, 0
        while done < cuts:
            time.sleep(chance.uniform(0.8, 2.2))
            between += 0 < run.count() < first
            done += run.net.proxy.cut() > 0
        assert between >= 2, "it was not cut in the midst of its work"
        return done, {}, f"{between} cuts with rows still to come"

    return harmed(site, harm, site.by_size(24_000, 60_000), Slow(0, 1_000_000))


def silent_broker(site: Site) -> Outcome:
    """Connections that are there and say nothing, for longer than a request may take."""
    seconds = site.by_size(8, 40)

    def harm(run: Run, _first: int) -> tuple[int, dict[str, bool], str]:
        run.net.proxy.become("silent")
        promises, measured = while_harmed(run, seconds, AWAY)
        run.net.proxy.become("pass")
        begun = time.monotonic()
        until(lambda: run.trouble() == "", PATIENCE_S)
        measured += f", well {time.monotonic() - begun:.0f} s after {seconds} s of silence"
        assert run.net.proxy.harmed, "no connection fell silent"
        return 1, promises, measured

    return harmed(site, harm, 12_000, Slow(0, 1_000_000))


def no_tls(site: Site) -> Outcome:
    """Something else than TLS answers for a while; then nobody does; then all is as before."""

    def harm(run: Run, _first: int) -> tuple[int, dict[str, bool], str]:
        run.net.proxy.become("garbage")
        promises, measured = while_harmed(run, 3, ("TLS with", LOST))
        run.net.proxy.become("pass")
        until(lambda: run.trouble() == "", PATIENCE_S)
        run.net.proxy.become("refuse")
        refused, _ = while_harmed(run, 3, AWAY)
        return 2, {**promises, **{f"refused: {text}": kept for text, kept in refused.items()}}, measured

    return harmed(site, harm, 4_000)


def no_such_name(site: Site) -> Outcome:
    """The broker's name is not known at the start, and later while it runs."""
    began = time.monotonic()
    lost = lmdp("run", "--bootstrap-servers", "no-such-name.invalid:9094", folder=site.folder(), seconds=PATIENCE_S)
    reported, seconds = lost.stderr.decode(), time.monotonic() - began
    hosts = site.folder() / "hosts"
    shutil.copy("/etc/hosts", hosts)

    def harm(run: Run, _first: int) -> tuple[int, dict[str, bool], str]:
        hosts.write_text("127.0.0.2 elsewhere\n")  # in place: it is what the run sees as /etc/hosts
        run.net.proxy.cut()
        promises, measured = while_harmed(run, 3, AWAY)
        shutil.copyfile("/etc/hosts", hosts)
        return 1, promises, f"{measured}, at the start in {seconds:.0f} s"

    done = harmed(site, harm, 4_000, before=own_hosts(hosts))
    wrong = {
        f"an unknown name ended with {lost.returncode}": lost.returncode == 3,
        f"an unknown name took {seconds:.0f} s": seconds < 60,
        "an unknown name was not said": "no-such-name.invalid:9094" in reported and "resolve" in reported,
        "an unknown name made a traceback": "Traceback" not in reported,
    }
    return dataclasses.replace(done, times=done.times + 1, broken=(*broken(wrong), *done.broken))


def own_hosts(hosts: Path) -> tuple[str, ...]:
    """Words that start a program with `hosts` for its /etc/hosts. Raises where this machine does not allow that."""
    alone = ("unshare", "-m") if os.geteuid() == 0 else ("unshare", "-r", "-m")
    words = (*alone, "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts))
    subprocess.run([*words, "true"], check=True, capture_output=True)
    return words


def stopped_in_silence(site: Site) -> Outcome:
    """SIGTERM while the broker is half-open: in the midst of a backlog, and in the first seconds of a start."""
    network, messages = net(site), 12_000
    run = Run(network, site.folder(), f"chaos.net.{time.monotonic_ns()}")
    network.broker.create_topic(run.topic, 4)
    publish(network.access, run.topic, map(bundle, range(messages)))
    ends = []
    network.proxy.become("pass", Slow(0, 1_000_000))
    with running(run):
        until(run.count, PATIENCE_S)
        network.proxy.become("silent")
        time.sleep(1)
        before = run.count()
        ends.append(run.stop())
    assert 0 < before < messages, "it was not stopped in the midst of its work"
    for wait in (1.0, 4.0):
        with running(run):
            until((run.home / "run.sock").exists, PATIENCE_S)
            time.sleep(wait)
            ends.append(run.stop())
    network.proxy.become("pass")
    done = lmdp(*run.words(), "--until-idle", folder=run.folder, seconds=PATIENCE_S)
    longest = max(seconds for _, _, seconds in ends)
    return outcome(run, messages, len(ends), f"the longest end took {longest:.1f} s", {
        f"it ended with {[code for code, _, _ in ends]}": all(code == 0 for code, _, _ in ends),
        f"it took {longest:.0f} s to end": longest < STOP_S,
        "it gave no report": all(b'"rows"' in out for code, out, _ in ends if code == 0),
        "it did not resume": done.returncode == 0,
    })  # fmt: skip


SCENARIOS = (
    Scenario("broker slow", "Few bytes a second make lag, not loss.", slow_broker),
    Scenario("broker cut", "Connections cut again and again lose and double nothing.", cut_again_and_again),
    Scenario("broker silent", "A half-open network is found out, said, and survived.", silent_broker),
    Scenario("broker without TLS", "What is no TLS is said to be none, and waited out.", no_tls),
    Scenario("broker's name gone", "A name that is not known is said, and waited out.", no_such_name),
    Scenario("stopped in silence", "SIGTERM ends a run whose broker is silent, in seconds.", stopped_in_silence),
    *firehose.SCENARIOS,
)
