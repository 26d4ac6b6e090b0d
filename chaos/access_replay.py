"""Names that somebody else chose: of topics, files and objects; and what lies beside a place that is replayed."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import os
import re
import socket
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from chaos.scenario import Outcome, Scenario, Site, broken
from cloud.names import BUCKET, REGION, SECRET, STREAM
from lmdp import Message, TransformSettings, transform
from lmdp.core.rejects import envelope
from lmdp.support.reject_files import write_to_folder
from running import bundle, lmdp, rows

TOPICS = (
    *("../../escape", "/etc/escape", "..", ".", ".hidden", "a/b", "a\\b", "nul\0", "new\nline", "\x1b]0;title\x07"),
    *("x" * 249, "y" * 10_000, "\u00fc\u00f1", "\ud800", "%2e%2e%2f", "~root", "-rf", "CON", "", " ", "a\u202eb"),
)
KEYS = (
    *("rejects//absolute", "rejects/../above", "rejects/a//b", "rejects/./here", "rejects/x\u202ey", "rejects/ "),
    *("rejects/" + "k" * 1015, "rejects/" + "d/" * 400 + "deep", "rejects/replayedish/1", "rejects/\x1b[31mred"),
)
BESIDE = ("rejects-other/1", "rejectsX", "other/rejects/1", "rejects", "Rejects/1")
NOW_MS = 1_795_000_000_000
_RAW_ESCAPE = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")


def rejected(number: int, topic: str = "t") -> Message:
    """A message that names no tenant, so that it is a reject until one is given."""
    return Message(bundle(number), topic, 0, number, NOW_MS)


def reject_lines(*numbers: int) -> bytes:
    """An object of rejects."""
    done = transform([rejected(number) for number in numbers], TransformSettings()).rejects
    return gzip.compress(b"".join(json.dumps(envelope(one, NOW_MS)).encode() + b"\n" for one in done), mtime=0)


def hostile_folder(root: Path, outside: Path, first: int) -> list[str]:
    """Fill a folder as an enemy would; returns the instances that it rightly holds."""
    write_to_folder(root, [], NOW_MS)
    for number, topic in enumerate(TOPICS, first):
        write_to_folder(root, transform([rejected(number, topic)], TransformSettings()).rejects, NOW_MS)
    good = len(TOPICS)
    names = [b"n" * 255, b"new\nline", b"\xff\xfe", b"\x1b[31mred", b"quote'\"; drop", b"d/" * 500 + b"deep", b"a b"]
    for name in names:
        path = Path(os.fsdecode(os.fsencode(root) + b"/" + name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(reject_lines(first + good))
        good += 1
    stolen = outside / "stolen"
    stolen.mkdir()
    (stolen / "1").write_bytes(reject_lines(9_000_001))
    (root / "link").symlink_to(stolen / "1")
    (root / "linked").symlink_to(stolen)
    (root / "up").symlink_to("..")
    (root / ".hidden-file").write_bytes(reject_lines(9_000_002))
    os.mkfifo(root / "pipe")
    with contextlib.suppress(PermissionError):
        os.mknod(root / "zero", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    listening = socket.socket(socket.AF_UNIX)
    with contextlib.suppress(OSError):
        listening.bind(str(root / "s.sock"))
    listening.close()
    return [f"i-{number}" for number in range(first, first + good)]


@contextlib.contextmanager
def bucket(keys: Sequence[str], first: int) -> Iterator[tuple[Any, dict[str, str]]]:
    """A bucket with objects under these keys, and the environment in which it is found."""
    from botocore.session import Session  # noqa: PLC0415 - slow to import
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - as above

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    env = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION}
    env |= {"AWS_ENDPOINT_URL_S3": url, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/nonexistent"}
    client = Session().create_client(
        "s3", region_name=REGION, endpoint_url=url, aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key=SECRET
    )
    try:
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        for number, key in enumerate(keys, first):
            client.put_object(Bucket=BUCKET, Key=key, Body=reject_lines(number))
        yield client, env
        for key in listed(client):  # moto keeps what it has beyond its server
            client.delete_object(Bucket=BUCKET, Key=key)
        client.delete_bucket(Bucket=BUCKET)
    finally:
        client.close()
        server.stop()


def listed(client: Any) -> list[str]:
    """Every key of the bucket."""
    return [entry["Key"] for entry in client.list_objects_v2(Bucket=BUCKET)["Contents"]]


def everything(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, without going through links."""
    return {str(Path(at, name)): Path(at, name).read_bytes() for at, _, names in os.walk(folder) for name in names}


def hostile_names(site: Site) -> Outcome:
    """A folder and a bucket full of tricks are replayed, each twice, into a warehouse and to Firehose."""
    from lmdp.testing.firehose import firehose_double  # noqa: PLC0415 - slow to import

    place, outside = site.folder() / "place" / "rejects", site.folder()
    place.mkdir(parents=True)
    wanted = hostile_folder(place, outside, 0)
    beside = {str(path) for path in place.parent.iterdir()}
    before, faults, printed = everything(outside), list[str](), b""
    home = site.folder()

    def replay(*words: str, expected: int, **env: str) -> None:
        nonlocal printed, faults
        command = ("replay", *words, "--org-id", "acme", "--json")
        done = lmdp(*command, folder=home, seconds=300, **env)  # type: ignore[arg-type]  # names of settings alone
        printed += done.stdout + done.stderr
        if done.returncode or json.loads(done.stdout)["rows"] != expected:
            faults.append(f"{words}: ended with {done.returncode}: {(done.stdout + done.stderr).decode()[-700:]}")

    for count in (len(wanted), 0):
        replay(str(place), expected=count)
    with bucket([*KEYS, *BESIDE], 1_000_000) as (client, env):
        source = (f"s3://{BUCKET}/rejects", "--region", REGION)
        for count in (len(KEYS), 0):
            replay(*source, expected=count, **env)
        left = [key for key in listed(client) if not key.startswith("rejects/replayed/")]
        faults += broken({f"other keys are left: {left}": sorted(left) == sorted(BESIDE)})
    with firehose_double(STREAM) as double, bucket([*KEYS, *BESIDE], 2_000_000) as (client, env):
        there = {**env, "AWS_ENDPOINT_URL_FIREHOSE": double.url}
        for count in (len(KEYS), 0):
            replay(*source, "--to", "firehose", "--stream", STREAM, expected=count, **there)
        sent = [json.loads(record)["instance"] for record in double.accepted]
    wanted += [f"i-{1_000_000 + number}" for number in range(len(KEYS))]
    found = [row["i"] for row in rows(home / ".lmdp", 'select "instance" as i from row_events')]
    faults += broken(
        {
            "something outside was read, moved or written": everything(outside) == before,
            "something was written beside the folder": {str(path) for path in place.parent.iterdir()} == beside,
            "other rows are there": sorted(set(found)) == sorted(wanted),
            "a terminal would obey what was printed": not _RAW_ESCAPE.search(printed),
            "a traceback was printed": b"Traceback" not in printed,
            "Firehose got other rows": sorted(sent) == sorted(f"i-{2_000_000 + n}" for n in range(len(KEYS))),
        }
    )
    messages = len(wanted) + len(sent)
    return Outcome(
        times=len(TOPICS) + len(KEYS) + len(BESIDE) + 13,
        messages=len(wanted) + len(KEYS),
        expected_rows=len(wanted) + len(KEYS),
        found_rows=len(set(found)) + len(set(sent)),
        repeats=len(found) - len(set(found)) + len(sent) - len(set(sent)),
        rejects=0,
        measured=f"{messages} objects",
        broken=tuple(faults),
    )


SCENARIOS = (Scenario("hostile names", "No name leads outside, hides a reject, or has it sent twice.", hostile_names),)
