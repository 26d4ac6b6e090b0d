"""No room, or no right to write, where the warehouse is."""

from __future__ import annotations

import json
import random
import re
import resource
import signal

from chaos.long_run import POINTS, SLOW, counted, ended, instances, names_all, running, wide
from chaos.scenario import Outcome, Site, broken
from chaos.small_disk import small_disk
from running import bundle, lmdp, options, publish


def full_warehouse(site: Site) -> Outcome:
    """The warehouse's disk fills up at random points of a backlog, and has room again; one run takes it all."""
    times, messages, chance = site.by_size(3, 12), site.by_size(1_500, 6_000), random.Random(7)
    folder, topic = site.folder(), site.new_topic(4)
    publish(site.broker.access, topic, map(wide, range(messages)))
    words = (*options(site.broker.access), "--topic", topic, "--org-id", "acme")
    with small_disk(site.folder(), site.by_size(300, 900)) as disk:
        file, troubles, answered = disk.path / "warehouse.duckdb", [], []
        with running(folder, *words, "--warehouse", str(file)) as run:
            for _ in range(times):
                disk.fill(chance.choice([0, 0, 300_000, 2_000_000, 5_000_000]))
                publish(site.broker.access, topic, map(wide, range(messages, messages + 1_500)))
                messages += 1_500
                run.until(lambda: run.trouble().startswith("no space"))
                troubles.append(run.trouble())
                run.until(lambda: run.rows() >= 0)  # questions are answered on a full disk
                answered.append(run.rows())
                disk.empty()
                run.until(lambda: not run.trouble())
            run.until(lambda: run.rows() == messages * POINTS)
            report = ended(run)
        again = len(re.findall("the warehouse was opened again", run.said()))
        return counted(
            instances(run.home, file),
            messages,
            times,
            report["rejectedMessages"],
            f"opened again {again} times",
            it_did_not_name_folder_free_and_wanted=all(names_all(text, disk.path) for text in troubles),
            no_checkpoint_failed=again > 0 or site.size == "short",
            rows_went_back=answered == sorted(answered),
            the_report_has_duplicates=report["duplicates"] == 0,
            it_said_the_same_again_and_again=run.said().count("no space to write") <= 4 * times,
            a_traceback_was_printed="Traceback" not in run.said(),
        )


def full_at_the_ends(site: Site) -> Outcome:
    """A run is killed and another ended on a full disk, a third starts there; then there is room."""
    messages = site.by_size(1_000, 4_000)
    folder, topic = site.folder(), site.new_topic(4)
    publish(site.broker.access, topic, map(wide, range(messages)))
    with small_disk(site.folder(), 300) as disk:
        file = disk.path / "warehouse.duckdb"
        words = (*options(site.broker.access), "--topic", topic, "--org-id", "acme", "--warehouse", str(file))
        ends = []
        for by in (signal.SIGKILL, signal.SIGTERM):
            with running(folder, *words) as run:
                run.until(lambda run=run: run.rows() >= 0)  # type: ignore[misc]
                disk.fill()
                run.until(lambda run=run: run.trouble().startswith("no space"))  # type: ignore[misc]
                run.program.send_signal(by)
                ends.append(run.program.wait(SLOW))
            disk.empty()
            (run.home / "run.sock").unlink(missing_ok=True)
        before = run.said()
        disk.fill()
        with running(folder, *words) as run:
            run.until(lambda: run.trouble().startswith("no space"))
            disk.empty()
            run.until(lambda: not run.trouble())
            run.program.send_signal(signal.SIGTERM)
            ends.append(run.program.wait(SLOW))
        done = lmdp("run", *words, "--until-idle", "--json", folder=folder, seconds=300)
        report = json.loads(done.stdout)
        return counted(
            instances(run.home, file),
            messages,
            3,
            report["rejectedMessages"],
            "",
            the_one_that_was_ended_did_not_say_so=ends[:2] == [-signal.SIGKILL, 1] and names_all(before, disk.path),
            the_start_on_a_full_disk_did_not_say_so_and_wait=ends[2:] == [0] and names_all(run.said(), disk.path),
            the_next_run_did_not_end_with_0=done.returncode == 0,
            the_report_has_duplicates=report["duplicates"] == 0,
            a_traceback_was_printed="Traceback" not in before + run.said() + done.stderr.decode(),
        )


def over_the_quota(site: Site) -> Outcome:
    """The kernel allows no longer files (as a quota does, and no root is needed); then it does again."""
    messages = site.by_size(1_000, 4_000)
    folder, topic = site.folder(), site.new_topic(4)
    file, troubles = folder / ".lmdp" / "warehouse.duckdb", []
    publish(site.broker.access, topic, map(wide, range(messages)))
    with running(folder, *options(site.broker.access), "--topic", topic, "--org-id", "acme") as run:
        for _ in range(2):
            most = (file.stat().st_size + 1_000_000, resource.RLIM_INFINITY)
            resource.prlimit(run.program.pid, resource.RLIMIT_FSIZE, most)
            publish(site.broker.access, topic, map(wide, range(messages, messages + 1_000)))
            messages += 1_000
            run.until(lambda: run.trouble().startswith("no space"))
            troubles.append(run.trouble())
            resource.prlimit(run.program.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            run.until(lambda: not run.trouble())
        run.until(lambda: run.rows() == messages * POINTS)
        report = ended(run)
    return counted(
        instances(run.home, file),
        messages,
        2,
        report["rejectedMessages"],
        "",
        it_did_not_name_folder_free_and_wanted=all(names_all(text, file.parent) for text in troubles),
        the_report_has_duplicates=report["duplicates"] == 0,
        a_traceback_was_printed="Traceback" not in run.said(),
    )


def query_on_a_full_disk(site: Site) -> Outcome:
    """A query that needs more memory than it may use, on a full disk, fails and says so; ingestion continues."""
    messages, topic, folder = 1_000, site.new_topic(2), site.folder()
    publish(site.broker.access, topic, map(bundle, range(messages)))
    large = "select count(*) as n from (select distinct a.range, b.range from range(4000) a, range(4000) b)"
    with small_disk(site.folder(), 64) as disk:
        file = disk.path / "warehouse.duckdb"
        words = (*options(site.broker.access), "--topic", topic, "--org-id", "acme", "--warehouse", str(file))
        with running(folder, *words) as run:
            run.until(lambda: run.rows() == messages)
            disk.fill()
            asked = lmdp("query", large, "--timeout", "60", folder=folder, seconds=SLOW)
            disk.empty()
            publish(site.broker.access, topic, map(bundle, range(messages, 2 * messages)))
            run.until(lambda: run.rows() == 2 * messages)
            report = ended(run)
        found = instances(run.home, file)
    return Outcome(
        times=1,
        messages=2 * messages,
        expected_rows=2 * messages,
        found_rows=len(set(found)),
        repeats=len(found) - len(set(found)) + report["duplicates"],
        rejects=0,
        broken=broken(
            {
                f"the question did not say what it lacks: {asked.stderr.decode()[-300:]}": asked.returncode == 1
                and str(disk.path).encode() in asked.stderr
                and b"bytes free" in asked.stderr,
                "a traceback was printed": "Traceback" not in run.said(),
            }
        ),
    )


def read_only(site: Site) -> Outcome:
    """On a read-only disk: a run refuses to start and names the folder; what is there can be asked."""
    messages, topic, folder = 200, site.new_topic(2), site.folder()
    publish(site.broker.access, topic, map(bundle, range(messages)))
    with small_disk(site.folder(), 64) as disk:
        file = disk.path / "warehouse.duckdb"
        words = (*options(site.broker.access), "--topic", topic, "--org-id", "acme", "--warehouse", str(file))
        first = lmdp("run", *words, "--until-idle", folder=folder, seconds=SLOW)
        disk.remount("ro")
        refused = lmdp("run", *words, folder=folder)
        homeless = lmdp("run", *words[:-2], "--home", str(disk.path / "home"), folder=folder)
        found = instances(folder / ".lmdp", file)
        disk.remount("rw")
    return Outcome(
        times=2,
        messages=messages,
        expected_rows=messages,
        found_rows=len(set(found)),
        repeats=len(found) - len(set(found)),
        rejects=0,
        broken=broken(
            {
                "the first run failed": first.returncode == 0,
                "the folder was not named": all(
                    run.returncode == 2 and str(disk.path).encode() in run.stderr for run in (refused, homeless)
                ),
                "a traceback was printed": b"Traceback" not in refused.stderr + homeless.stderr,
            }
        ),
    )
