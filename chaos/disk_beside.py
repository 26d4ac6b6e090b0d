"""No room beside the warehouse: for rejects, the embedded Kafka, standard streams, and files of other commands."""

from __future__ import annotations

import gzip
import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from chaos.long_run import SLOW, Run, ended, running
from chaos.scenario import Outcome, Site, broken
from chaos.small_disk import small_disk
from lmdp.core.rejects import Reject
from lmdp.machine.api import client
from lmdp.machine.api.protocol import Query
from lmdp.support.reject_files import write_to_folder
from running import PROGRAM, bundle, environment, lmdp, options, publish, rows, started


def rejects_full(site: Site) -> Outcome:
    """The folder of `--rejects` is full, then read-only, then neither; the warehouse has room all the time."""
    folder, topic, good = site.folder(), site.new_topic(2), 200
    bad = b'{"resourceMetrics": ['

    def more(first: int) -> None:
        values = [value for number in range(first, first + good) for value in (bundle(number), bad + b"%d" % number)]
        publish(site.broker.access, topic, values)

    troubles = []
    with small_disk(site.folder(), 2) as disk:
        kept = disk.path / "rejects"
        words = (*options(site.broker.access), "--topic", topic, "--org-id", "acme", "--rejects", str(kept))
        with running(folder, *words) as run:
            more(0)
            run.until(lambda: run.rows() == good)
            disk.fill()
            more(good)
            run.until(lambda: run.trouble().startswith("no space"))
            troubles.append(run.trouble())
            disk.empty()
            run.until(lambda: run.rows() == 2 * good)
            disk.remount("ro")
            more(2 * good)
            run.until(lambda: "Read-only file system" in run.trouble())
            troubles.append(run.trouble())
            disk.remount("rw")
            run.until(lambda: run.rows() == 3 * good)
            report = ended(run)
        seen = rows(run.home, "select source_partition as p, source_offset as o from rejects")
        files = set(_rejects_below(kept))
        found = [row["i"] for row in rows(run.home, 'select "instance" as i from row_events')]
    return Outcome(
        times=2,
        messages=6 * good,
        expected_rows=3 * good,
        found_rows=len(set(found)),
        repeats=len(found) - len(set(found)),
        rejects=report["rejectedMessages"],
        broken=broken(
            {
                "rejects are missing": len(seen) == report["rejectedMessages"] == 3 * good,
                "files and warehouse differ": files == {(row["p"], row["o"]) for row in seen},
                "the folder was not named": all(str(kept) in text for text in troubles),
                "free and wanted bytes were not named": "bytes free there, about " in troubles[0],
                "the report has duplicates": report["duplicates"] == 0,
                "a traceback was printed": "Traceback" not in run.said(),
            }
        ),
    )


def _rejects_below(folder: Path) -> Iterator[tuple[int, int]]:
    """Partition and offset of each reject in the files; a half file would raise."""
    for path in folder.rglob("*.ndjson.gz"):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            source = json.loads(line)["source"]
            yield source["partition"], source["offset"]


def full_broker(site: Site) -> Outcome:
    """The embedded Kafka's disk fills up under a run that publishes; it ends, and is back when there is room."""
    folder = site.folder()
    with small_disk(site.folder(), 500) as disk:
        home, file = disk.path / ".lmdp", folder / "warehouse.duckdb"
        words = ("run", "--home", str(home), "--warehouse", str(file), "--json")
        with started(*words, "--simulate", "20", "--interval", "1", folder=folder) as program:
            run = Run(home, program, folder / "stderr")
            run.until((home / "run.sock").exists)
            run.until(lambda: run.rows() > 0)
            disk.fill()
            run.until(lambda: "there is no space in" in run.said())
            disk.empty()
            run.until(lambda: "the embedded Kafka is back" in run.said())
            there = run.rows()
            run.until(lambda: run.rows() > there >= 0)
            first = ended(run)
        said = run.said()
        done = lmdp(*words, "--simulate", "0", "--until-idle", "--org-id", "demo", folder=folder, seconds=300)
        rest = json.loads(done.stdout)
        question = Query("select count(*) as n from row_events")
        found = client.query(home, file, question).table.to_pylist()[0]["n"]
    published, messages = first["published"], first["messages"] + rest["messages"]
    return Outcome(
        times=1,
        messages=messages,
        expected_rows=first["rows"] + rest["rows"],
        found_rows=found,
        repeats=rest["duplicates"],
        rejects=first["rejectedMessages"] + rest["rejectedMessages"],
        measured=f"{published:,} published, {first['unacknowledged']:,} not acknowledged",
        broken=broken(
            {
                "an acknowledged message is missing": published <= messages,
                "a message is there that was never sent": messages <= published + first["unacknowledged"],
                "the folder was not named": f"there is no space in {home / 'broker'}" in said,
                "free and wanted bytes were not named": "bytes free there, about " in said,
                "a traceback was printed": "Traceback" not in said,
            }
        ),
    )


def full_streams(site: Site) -> Outcome:
    """Standard error full or closed under a run; standard output full under questions and reports."""
    messages, topic, folder = 500, site.new_topic(2), site.folder()
    publish(site.broker.access, topic, map(bundle, range(messages)))
    words = [*options(site.broker.access), "--topic", topic, "--org-id", "acme", "--until-idle", "--partitions"]
    codes = [
        _shell(folder, ["run", *words, "0"], "2>/dev/full"),
        _shell(folder, ["run", *words, "1", "--json"], ">&- 2>&-"),  # the report has nowhere to go
        _shell(folder, ["query", "select 1"], ">/dev/full"),
        _shell(folder, ["query", "select 1", "--format", "parquet"], ">/dev/full"),
        _shell(folder, ["query", "select 1"], "2>/dev/full"),
        _shell(folder, ["status"], ">&-"),
    ]
    found = [row["i"] for row in rows(folder / ".lmdp", 'select "instance" as i from row_events')]
    return Outcome(
        times=len(codes),
        messages=messages,
        expected_rows=messages,
        found_rows=len(set(found)),
        repeats=len(found) - len(set(found)),
        rejects=0,
        broken=broken({f"the exit codes are {codes}": codes == [0, 1, 1, 1, 0, 1]}),
    )


def _shell(folder: Path, words: list[str], redirected: str) -> int:
    """The exit code of the program with its streams so redirected."""
    line = f"exec {shlex.join([*PROGRAM, *words])} {redirected}"
    nowhere = subprocess.DEVNULL
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment(), stdout=nowhere, stderr=nowhere, timeout=SLOW, check=False
    )
    return done.returncode


def full_files(site: Site) -> Outcome:
    """`flatten` writes rejects and its report to a full disk; `replay` moves what it replayed on one."""
    folder, bad = site.folder(), 50
    (folder / "bundles.jsonl").write_bytes(
        b"\n".join([bundle(0), *[b'{"resourceMetrics": [%d' % n for n in range(bad)]])
    )
    with small_disk(site.folder(), 3) as disk:
        disk.fill()
        ends = [
            lmdp("flatten", "--org-id", "acme", "bundles.jsonl", option, str(disk.path / "out"), folder=folder)
            for option in ("--rejects", "--report")
        ]
        disk.empty()
        source = disk.path / "rejects"
        first = [
            write_to_folder(source, [Reject("Row.MissingField", "orgId", bundle(at), "t", 0, at, None, None, 1)], 0)[0]
            for at in range(bad)
        ]
        disk.fill()
        words = ("replay", str(source), "--org-id", "acme", "--json")
        refused = lmdp(*words, folder=folder)
        there = [path for path in first if path.exists()]
        disk.empty()
        done = lmdp(*words, folder=folder)
        moved = list((source / "replayed").rglob("*.ndjson.gz"))
        found = [row["i"] for row in rows(folder / ".lmdp", 'select "instance" as i from row_events')]
    return Outcome(
        times=3,
        messages=bad,
        expected_rows=bad,
        found_rows=len(set(found)),
        repeats=len(found) - len(set(found)),
        rejects=0,
        broken=broken(
            {
                "flatten did not report it": all(
                    end.returncode == 3 and b"No space left" in end.stderr and str(disk.path).encode() in end.stderr
                    for end in ends
                ),
                "flatten printed other rows": all(end.stdout.count(b"\n") == 1 for end in ends),
                "the replay on a full disk lost its sources": refused.returncode == 0 or len(there) == bad,
                "the replay did not end with 0": done.returncode == 0,
                "what was replayed was not kept": len(moved) == bad,
                "a traceback was printed": b"Traceback" not in b"".join(end.stderr for end in [*ends, refused, done]),
            }
        ),
    )
