"""Other users of the same machine: keys, folders, the socket, and two `lmdp certs` at once."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import os
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

from chaos.scenario import Outcome, Scenario, Site, broken
from lmdp.certificates import development_ca
from lmdp.machine.api.protocol import socket_path
from lmdp.machine.kafka.access import KafkaAccess
from running import PROGRAM, bundle, environment, lmdp, options, publish, rows, started, until

NOBODY = 65534  # a user without rights; to be that one takes root
IS_ROOT = os.geteuid() == 0


def mode(path: Path) -> int:
    """Return a file's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def pair_faults(folder: Path) -> list[str]:
    """Certificates that do not belong to their keys, or that the folder's CA has not signed; keys others can read."""
    ca = development_ca.read_certificate(folder / "ca.pem")
    faults = []
    for cert in sorted(folder.glob("*.pem")):
        faults += KafkaAccess("host:1", folder / "ca.pem", cert, cert.with_suffix(".key")).faults()
        try:
            development_ca.read_certificate(cert).verify_directly_issued_by(ca)
        except ValueError:
            faults.append(f"{cert.name} is not signed by the ca.pem beside it")
    return faults


def certs_at_once(site: Site) -> Outcome:
    """Many `lmdp certs` begin at once: in a new folder, and in one where all certificates are about to end."""
    several, rounds = site.by_size(4, 6), site.by_size(1, 5)
    faults = list[str]()
    for turn in range(rounds):
        for renews in (False, True):
            home = site.folder() / "home"
            if renews:
                old = dt.datetime.now(dt.UTC) - dt.timedelta(days=development_ca.LEAF_DAYS - 1)
                home.mkdir(mode=0o700)
                development_ca.make(home / "certs", now=old)
            words = [*PROGRAM, "certs", "--home", str(home), "--client"]
            at_once = [
                subprocess.Popen(
                    [*words, f"client-{number % 2}"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
                )
                for number in range(several)
            ]
            for one in at_once:
                _, said = one.communicate(timeout=120)
                faults += [said.decode()] if one.returncode else []
            files = home / "certs"
            faults += [f"round {turn}: {fault}" for fault in pair_faults(files)]
            faults += broken(
                {
                    f"{files} has mode {mode(files):04o}": mode(files) == 0o700,
                    f"{home} has mode {mode(home):04o}": renews or mode(home) == 0o700,
                    "a key can be read by others": all(mode(key) == 0o600 for key in files.glob("*.key")),
                    "something is left over": {file.suffix for file in files.iterdir()} == {".pem", ".key", ""},
                    "a client is missing": len(list(files.glob("client-*.pem"))) == 2,
                }
            )
    return Outcome(2 * rounds * several, 0, 0, 0, 0, 0, f"{several} at once", tuple(faults))


def open_files(site: Site) -> Outcome:
    """Keys, CAs and folders that others can read or write are refused, each with the command that fixes it."""
    folder = site.folder()
    made = development_ca.make(folder / "certs")
    good = KafkaAccess("127.0.0.1:1", made.ca.cert, made.client.cert, made.client.key)
    open_key, open_ca, open_place = folder / "open.key", folder / "open.pem", folder / "open"
    for path, source, rights in ((open_key, made.client.key, 0o644), (open_ca, made.ca.cert, 0o666)):
        path.write_bytes(source.read_bytes())
        path.chmod(rights)
    open_place.mkdir()
    inside = open_place / "ca.pem"
    inside.write_bytes(made.ca.cert.read_bytes())
    open_place.chmod(0o777)
    tried = [
        (options(dataclasses.replace(good, key=open_key)), f"chmod 600 {open_key}"),
        (options(dataclasses.replace(good, ca=open_ca)), f"chmod o-w {open_ca}"),
        (options(dataclasses.replace(good, ca=inside)), f"chmod go-w {open_place}"),
        (["--home", str(open_place), "--broker", "memory"], f"chmod 700 {open_place}"),
    ]
    faults = list[str]()
    for words, reported in tried:
        ended = lmdp("run", *words, folder=folder, seconds=120)
        if ended.returncode != 2 or reported not in ended.stderr.decode():
            faults.append(f"{words}: ended with {ended.returncode} and said {ended.stderr.decode()!r}")
    faults += broken({"something was put into a folder of everybody": sorted(open_place.iterdir()) == [inside]})
    return Outcome(len(tried), 0, 0, 0, 0, 0, broken=tuple(faults))


TRESPASS = textwrap.dedent(
    """
    import json, os, pathlib, socket, sys
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    reported = {}
    for name in sys.argv[1:]:
        path = pathlib.Path(name)
        try:
            if name.endswith(".sock"):
                with socket.socket(socket.AF_UNIX) as line:
                    line.connect(name)
            elif path.is_dir():
                list(path.iterdir())
            else:
                path.read_bytes()
            reported[name] = "let in"
        except OSError as error:
            reported[name] = type(error).__name__
    print(json.dumps(reported))
    """
)


def other_user(site: Site) -> Outcome:
    """Another user tries the socket, the warehouse, keys, rejects and the broker's data of a run."""
    if not IS_ROOT:
        raise RuntimeError("only root can be another user")
    folder, name, count = site.folder(), site.new_topic(1), 500
    for part in (folder, *folder.parents):
        if mode(part) & 0o005 != 0o005 and part.stat().st_uid == os.geteuid() and part != Path("/"):
            part.chmod(0o755)  # so that what is below is kept by its own modes, or by none
    publish(site.broker.access, name, [*map(bundle, range(count)), b"no bundle"])
    words = ("run", *options(site.broker.access), "--topic", name, "--org-id", "acme", "--rejects", ".lmdp/rejects")
    with started(*words, folder=folder) as run:
        home = folder / ".lmdp"
        until((home / "run.sock").exists, 60)
        until(lambda: rows(home, "select count(*) as n from rejects")[0]["n"] == 1, 60)
        found = rows(home, "select count(*) as n from row_events")[0]["n"]
        keys = site.broker.access.ca
        assert keys is not None
        wanted = [home / "run.sock", home / "warehouse.duckdb", home, home / "rejects", keys.with_name("ca.key")]
        reported = json.loads(
            subprocess.run(
                [sys.executable, "-c", TRESPASS, *map(str, wanted)], capture_output=True, check=True, cwd="/"
            ).stdout
        )
        modes = {path.name: f"{mode(path):04o}" for path in (home, home / "run.sock")}
        run.terminate()
        ended = run.wait(60)
    return Outcome(
        times=len(wanted),
        messages=count + 1,
        expected_rows=count,
        found_rows=found,
        repeats=0,
        rejects=1,
        broken=broken(
            {
                f"another user was let in: {reported}": set(reported.values()) == {"PermissionError"},
                f"modes are {modes}": modes == {".lmdp": "0700", "run.sock": "0600"},
                "it did not end with 0": ended == 0,
            }
        ),
    )


SQUAT = textwrap.dedent(
    """
    import os, socket, sys
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    line = socket.socket(socket.AF_UNIX)
    line.bind(sys.argv[1]); os.chmod(sys.argv[1], 0o777); line.listen()
    print("ready", flush=True)
    while True:
        client, _ = line.accept()
        client.settimeout(2)
        try:
            if data := client.recv(100_000):
                print("heard", flush=True)
                body = b'{"running": null, "stolen": true}'
                client.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
        except OSError:
            pass
        client.close()
    """
)


@contextlib.contextmanager
def squatting(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another user listens on this path."""
    with subprocess.Popen([sys.executable, "-c", SQUAT, str(path)], stdout=subprocess.PIPE, cwd="/") as squatter:
        assert squatter.stdout is not None
        try:
            assert squatter.stdout.readline() == b"ready\n"
            yield squatter
        finally:
            squatter.kill()


def squatted_socket(site: Site) -> Outcome:
    """A home with a long path has its socket in the folder of temporary files; another user was there first."""
    if not IS_ROOT:
        raise RuntimeError("only root can be another user")
    temporary, home = site.folder(), site.folder() / ("long-" * 30)
    home.mkdir(mode=0o700)
    for part in (temporary, *temporary.parents):
        if part.stat().st_uid == os.geteuid() and part != Path("/"):
            part.chmod(mode(part) | 0o055)
    temporary.chmod(0o1777)
    before = os.environ.get("TMPDIR")
    path = temporary / socket_path(home).name
    with squatting(path) as squatter:
        words = ("--home", str(home))
        secret = "select 'a question of ours'"
        query = lmdp("query", secret, *words, folder=home, seconds=60, TMPDIR=str(temporary))
        status = lmdp("status", *words, folder=home, seconds=60, TMPDIR=str(temporary))
        run = lmdp("run", *words, "--broker", "memory", "--duration", "1", folder=home, TMPDIR=str(temporary))
        time.sleep(0.2)
        squatter.kill()
        assert squatter.stdout is not None
        heard = squatter.stdout.read().decode()
    assert os.environ.get("TMPDIR") == before
    said = [one.stderr.decode() for one in (query, status, run)]
    return Outcome(
        times=3,
        messages=0,
        expected_rows=0,
        found_rows=0,
        repeats=0,
        rejects=0,
        broken=broken(
            {
                f"the squatter heard a question: {heard!r}": "heard" not in heard,
                f"query ended with {query.returncode}: {said[0]!r}": query.returncode == 3
                and "another user" in said[0],
                f"status ended with {status.returncode}: {said[1]!r}": status.returncode == 3
                and "another user" in said[1],
                f"run ended with {run.returncode}: {said[2]!r}": run.returncode == 3 and str(path) in said[2],
            }
        ),
    )


SCENARIOS = (
    Scenario("certs at once", "Two `lmdp certs` at once leave whole pairs, for their owner alone.", certs_at_once),
    Scenario("open files", "A key, a CA or a home that others can change is refused.", open_files),
    Scenario("another user", "Another user of the machine reads nothing and asks nothing.", other_user),
    Scenario("squatted socket", "A socket of another user is neither believed nor sent anything.", squatted_socket),
)
