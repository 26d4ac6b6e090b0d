"""Microsoft's own TMDL serializer reads the model without an error, and writes back the same bytes.

It is in the npm package of their modeling server. Its licence is for internal use: downloaded here, never shipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from powerbi.conftest import DEFINITION

PACKAGE = "@microsoft/powerbi-modeling-mcp-linux-x64@0.5.0-beta.13"
SHA256 = "fd7a50af489789f0c12f75fd3ba768a676854c67d8b459af1501723e16006173"
BINARY = "package/dist/powerbi-modeling-mcp"


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, from an earlier run of the tests or from the registry."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("Microsoft's modeling server is a program for Linux on x86-64 here")
    cache = getattr(request.config, "cache", None)
    folder = cache.mkdir("powerbi-modeling-mcp") if cache else tmp_path_factory.mktemp("mcp")
    binary: Path = folder / BINARY
    if not binary.exists():
        download(folder)
    return binary


def download(folder: Path) -> None:
    """Unpack the package into the folder; skip the test where there is no npm, or no registry."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    npm = shutil.which("npm", path=path)
    if npm is None:
        pytest.skip("npm, which downloads Microsoft's modeling server, is not here")
    command = [npm, "pack", PACKAGE, "--silent", "--fetch-retries=0", "--fetch-timeout=60000"]
    try:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{PACKAGE} did not come within two minutes")
    if done.returncode:
        pytest.skip(f"{PACKAGE} cannot be had: {done.stderr.decode(errors='replace')[-200:]}")
    (archive,) = folder.glob("*.tgz")
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    archive.unlink()
    (folder / BINARY).chmod(0o755)


class Session:
    """A conversation with the server over its standard streams, in JSON-RPC."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Introduce us."""
        self._process = process
        self._calls = 0
        hello = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "lmdp", "version": "1"}}
        self._call("initialize", hello)
        self._send({"method": "notifications/initialized"})

    def use(self, tool: str, **request: str) -> dict[str, Any]:
        """Return what a tool answers; an error fails the test."""
        result = self._call("tools/call", {"name": tool, "arguments": {"request": request}})
        text: str = result["content"][0]["text"]
        assert not result.get("isError"), text
        answer: dict[str, Any] = json.loads(text)
        return answer

    def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._calls += 1
        self._send({"id": self._calls, "method": method, "params": params})
        assert self._process.stdout
        for line in self._process.stdout:
            answer = json.loads(line)
            if answer.get("id") == self._calls:
                result: dict[str, Any] = answer["result"]
                return result
        raise AssertionError("the server ended")

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self._process.stdin.flush()


@pytest.fixture
def session(server: Path) -> Iterator[Session]:
    """A server that is running."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([server, "--start"], text=True, **pipes) as process:
        try:
            yield Session(process)
        finally:
            process.kill()


def test_microsofts_serializer_writes_back_the_same_bytes(
    session: Session, project: dict[str, str], imported: bool, tmp_path: Path
) -> None:
    """Every table, column, measure, relationship, parameter and policy is understood as it is written."""
    model = {path.removeprefix(DEFINITION): text for path, text in project.items() if path.startswith(DEFINITION)}
    for path, text in model.items():
        file = tmp_path / "model" / "definition" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
    read = session.use("connection_operations", operation="ConnectFolder", folderPath=str(tmp_path / "model"))
    assert read["data"]["tablesLoaded"] == (13 if imported else 14)
    out = tmp_path / "out"
    out.mkdir()
    session.use("database_operations", operation="ExportToTmdlFolder", tmdlFolderPath=str(out))
    written = {file.relative_to(out).as_posix(): file.read_bytes().decode() for file in out.rglob("*.tmdl")}
    assert written == model
