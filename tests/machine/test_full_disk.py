"""A disk without room: what was there stays, and writing goes on when there is room, without a restart.

The kernel's limit for a file's size stands for the full disk, since it needs no rights and can be lifted again.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from lmdp.core.specification import load_spec
from lmdp.machine.warehouse.warehouse import Warehouse

TESTS = Path(__file__).parent.parent

BEGIN = """
    import resource, sys
    from pathlib import Path
    sys.path[:0] = sys.argv[2:]
    import test_warehouse as t

    def no_file_beyond(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def commit(first, end, count):
        try:
            opened.commit(t.load(count, t.part(first, end, count)))
        except t.LmdpError as error:
            print(error.exit_code, str(error).splitlines()[0])

    def is_told():
        print(opened.offsets("cluster", "id", "lm.metrics.otlp"), t.count(opened), opened.reopened)

    path = Path(sys.argv[1])
    opened = t.Warehouse.open(path, t.SPEC)
    commit(0, 1, 10)
"""


def elsewhere(code: str, path: Path) -> list[str]:
    """What the code prints in a process of its own, whose limits are not ours."""
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BEGIN) + textwrap.dedent(code), path, TESTS / "machine", TESTS],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.stderr == ""
    assert run.returncode == 0
    return run.stdout.splitlines()


def test_a_log_without_room_is_waited_out(path: Path) -> None:
    """The folder, its free bytes and those wanted are named; then the same load is written, once."""
    code = """
        no_file_beyond(400_000)
        commit(1, 2, 20_000)
        is_told()
        no_file_beyond(resource.RLIM_INFINITY)
        commit(1, 2, 20_000)
        is_told()
        print(opened.duplicates())
    """
    first, full, *others = elsewhere(code, path)
    assert first.startswith(f"1 no space to write in {path.parent}: File too large (")
    assert first.endswith(" wanted).")
    assert "bytes free there, about " in first
    assert [full, *others] == ["{0: 1} 10 0", "{0: 2} 20010 0", "0"]


def test_a_checkpoint_without_room_shuts_the_file_for_a_moment(path: Path) -> None:
    """DuckDB lets nobody use the file until it is opened again, which happens at once; offsets tell what is in it."""
    code = """
        no_file_beyond(path.stat().st_size + 100_000)
        commit(1, 2, 100_000)
        following = opened.offsets("cluster", "id", "lm.metrics.otlp")[0]
        print(following, t.count(opened), opened.reopened)
        commit(following, following + 1, 100_000)
        no_file_beyond(resource.RLIM_INFINITY)
        following = opened.offsets("cluster", "id", "lm.metrics.otlp")[0]
        commit(following, following + 1, 7)
        print(following, t.count(opened), opened.duplicates())
    """
    first, full, second, end = elsewhere(code, path)
    assert first.startswith(f"1 no space to write in {path.parent}")
    assert second.startswith(f"1 no space to write in {path.parent}")
    following, rows, reopened = map(int, full.split())
    assert (rows, reopened) == ({1: 10, 2: 100_010}[following], 1)
    assert [int(number) for number in end.split()][1:] == [rows + 7, 0]
    with Warehouse.open(path, load_spec()) as opened:
        assert (opened.tally.exact().rows, opened.duplicates()) == (rows + 7, 0)


def test_a_file_is_opened_again_beside_questions(path: Path) -> None:
    """DuckDB closes no file beside a question: those under way are ended, and the next ones wait until it is open."""
    code = """
        import threading
        done, said = threading.Event(), set()

        def ask():
            while not done.is_set():
                try:
                    opened.duplicates()
                    opened.query("SELECT count(*) FROM range(3_000) AS A, range(3_000) AS B WHERE A.range > B.range")
                except t.LmdpError as error:
                    said.add(str(error).removeprefix(f"the warehouse {path} "))

        askers = [threading.Thread(target=ask) for _ in range(3)]
        for asker in askers:
            asker.start()
        for offset in range(1, 31):
            opened._shut = True  # as a checkpoint on a full disk leaves it
            commit(offset, offset + 1, 10)
        done.set()
        for asker in askers:
            asker.join()
        print(t.count(opened), opened.duplicates(), opened.reopened, said)
    """
    assert elsewhere(code, path) == ["310 0 30 {'was closed before the answer; run the query again'}"]


def test_a_question_that_cannot_be_ended_delays_the_opening_alone(path: Path) -> None:
    """The write is refused as for a disk that is full, and the next one after the question goes through."""
    code = """
        import threading, time
        held = opened._connection.cursor()  # of none that `end_queries` knows
        question = "SELECT count(*) FROM range(3_000_000) AS A, range(10_000) AS B WHERE A.range * B.range % 7 = 3"

        def ask():
            try:
                held.execute(question)
            except t.duckdb.Error:
                pass

        asker = threading.Thread(target=ask)
        asker.start()
        time.sleep(0.5)
        opened._shut = True
        for _ in range(2):
            commit(1, 2, 10)
        while asker.is_alive():
            held.interrupt()
            asker.join(0.1)
        held.close()
        commit(1, 2, 10)
        print(t.count(opened), opened.duplicates(), opened.reopened)
    """
    *refused, end = elsewhere(code, path)
    assert refused == [f"3 the warehouse {path} is already open in this process"] * 2
    assert end == "20 0 1"


def test_a_consumer_goes_on_when_there_is_room(path: Path) -> None:
    """Its log finds no room; then the file is shut under it by another's transaction. Each row is there once."""
    code = """
        from lmdp.machine.embedded_kafka.broker import MemoryBroker
        from lmdp.machine.settings import ConsumeSettings
        from running import bundle, consuming, expected, publish, until

        opened.close()
        broker = MemoryBroker()
        broker.create_topic("t")
        with consuming(broker.access, path, ConsumeSettings("t", cluster="one")) as at_work:
            opened = at_work.warehouse
            no_file_beyond(4_096)  # the log is new
            publish(broker.access, "t", map(bundle, range(1_000)))
            until(lambda: at_work.progress.trouble.startswith("no space to write in"), 60)
            no_file_beyond(resource.RLIM_INFINITY)
            until(lambda: at_work.rows() == 1_000, 60)
            print(sum(at_work.told(text) for text in ("no space to write in", "consuming again")))
            no_file_beyond(path.stat().st_size + 100_000)
            commit(1, 2, 100_000)
            no_file_beyond(resource.RLIM_INFINITY)
            publish(broker.access, "t", map(bundle, range(1_000, 2_000)))
            until(lambda: at_work.rows() == 2_000, 60)
            found = opened.query('SELECT "instance" AS I FROM ROW_EVENTS WHERE "instance" IS NOT NULL ORDER BY 1')
            print(found.table.column(0).to_pylist() == expected(range(2_000)), opened.reopened, opened.duplicates())
    """
    told, refused, found = elsewhere(code, path)
    assert refused.startswith("1 no space to write in")
    assert (told, found) == ("2", "True 1 0")


def test_a_start_without_room_says_so(path: Path) -> None:
    """A file with other views is not changed, and the folder is named."""
    code = """
        opened.close()
        with t.duckdb.connect(path) as other:
            other.execute("DROP VIEW PIPELINE.METRICS")
        before = path.read_bytes()
        no_file_beyond(100)
        try:
            t.Warehouse.open(path, t.SPEC)
        except t.LmdpError as error:
            print(error.exit_code, error)
        print(path.read_bytes() == before)
    """
    first, second, same = elsewhere(code, path)
    assert first.startswith(f"1 no space to write in {path.parent}")
    assert second == "Nothing was changed. Free space, and start again."
    assert same == "True"


def test_a_file_with_current_views_opens_without_room(path: Path) -> None:
    """Nothing is written to open it: what it has can be read, and what is to be written waits."""
    code = """
        opened.close()
        no_file_beyond(100)
        opened = t.Warehouse.open(path, t.SPEC)
        print(t.count(opened))
        commit(1, 2, 10)
    """
    rows, refused = elsewhere(code, path)
    assert (rows, refused.partition(":")[0]) == ("10", f"1 no space to write in {path.parent}")
