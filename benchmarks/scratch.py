"""The needs of a benchmark alone: packages in a folder of their own, and peers built from source; both are kept."""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Final

from platformdirs import user_cache_path

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent
REQUIREMENTS: Final = ROOT / "requirements" / "bench.txt"
CACHE: Final = user_cache_path("lmdp-bench")
INSTALL_SECONDS: Final = 300
BUILD_SECONDS: Final = 1800


class PeerMissingError(Exception):
    """A peer or a floor that cannot be had here."""


def orjson(*, install: bool) -> ModuleType:
    """The orjson of the benchmark's own folder, made if need be. Raises PeerMissingError."""
    site = _packages(install=install)
    if str(site) not in sys.path:
        sys.path.append(str(site))  # behind the runtime's own packages
    try:
        return importlib.import_module("orjson")
    except ImportError as error:
        raise PeerMissingError(f"orjson does not load: {error}") from error


def _packages(*, install: bool) -> Path:
    """The folder with the pinned packages for this Python."""
    site = CACHE / f"python{sys.version_info[0]}.{sys.version_info[1]}-{_digest(REQUIREMENTS)}"

    def make(aside: Path) -> None:
        uv = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
        command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--require-hashes"]
        run([*command, "--target", str(aside), "-r", str(REQUIREMENTS)], seconds=INSTALL_SECONDS)

    return _made(site, make, install=install)


def go_program(name: str, say: Callable[[str], None], *, install: bool) -> Path:
    """The Go program in the folder `name` beside this file, built once for its source. Raises PeerMissingError."""
    folder = HERE / name

    def make(aside: Path) -> None:
        go = _tool("go", "/usr/local/go/bin")
        say(f"building {name}, once: some minutes")
        env = {"GOFLAGS": "-mod=readonly -buildvcs=false", "CGO_ENABLED": "0"}
        run([go, "build", "-o", str(aside), "."], seconds=BUILD_SECONDS, folder=folder, env=env)

    return _made(CACHE / f"{name}-{_digest(*sorted(folder.iterdir()))}", make, install=install)


def cargo_program(name: str, say: Callable[[str], None], *, install: bool) -> Path:
    """The Rust program in the folder `name` beside this file, built once for its source. Raises PeerMissingError."""
    source = [HERE / name / "Cargo.toml", HERE / name / "main.rs"]

    def make(aside: Path) -> None:
        cargo = _tool("cargo", str(Path.home() / ".cargo" / "bin"))
        say(f"building {name}, once: some minutes")
        with tempfile.TemporaryDirectory(prefix="lmdp-bench-") as folder:  # Cargo writes beside its manifest
            for file in source:
                shutil.copy(file, folder)
            built = CACHE / f"{name}-target"  # kept: most of the time goes into what it needs
            command = [cargo, "build", "--release", "--quiet", "--target-dir", str(built)]
            run(command, seconds=BUILD_SECONDS, folder=Path(folder))
            shutil.copy(built / "release" / name, aside)

    return _made(CACHE / f"{name}-{_digest(*source)}", make, install=install)


def _made(wanted: Path, make: Callable[[Path], None], *, install: bool) -> Path:
    """`wanted`, made aside if need be, so that half of it is never taken for the whole."""
    if wanted.exists():
        return wanted
    if not install:
        raise PeerMissingError("it is not there yet, and nothing may be installed in this run")
    CACHE.mkdir(parents=True, exist_ok=True)
    aside = wanted.with_name(f"{wanted.name}.{os.getpid()}")
    make(aside)
    aside.rename(wanted)
    return wanted


def _tool(name: str, otherwise: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=otherwise)
    if found is None:
        raise PeerMissingError(f"there is no {name} here to build it with")
    return found


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def run(command: list[str], *, seconds: float, folder: Path | None = None, env: dict[str, str] | None = None) -> None:
    """Run a tool to its end. Raises PeerMissingError with the last line that it said."""
    given = {**os.environ, **(env or {})}
    try:
        ended = subprocess.run(
            command, cwd=folder, env=given, capture_output=True, text=True, timeout=seconds, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerMissingError(f"{Path(command[0]).name} did not run: {error}") from error
    if ended.returncode:
        said = [line for line in ended.stderr.splitlines() if line.strip()] or ["nothing"]
        raise PeerMissingError(f"{Path(command[0]).name} failed: {said[-1].strip()}")
