"""Who is asked: the run that has the warehouse, else the file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from lmdp.errors import RunNotFoundError, SettingsError, UnreachableError
from lmdp.machine.api import client
from lmdp.machine.api.protocol import Query, socket_path
from lmdp.machine.api.server import serving
from new_warehouse import open_warehouse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ONE = Query("select 1 as a")


def _made(path: Path) -> Path:
    """An empty warehouse at `path`."""
    path.parent.mkdir(exist_ok=True)
    open_warehouse(path).close()
    return path


def test_without_a_run_the_file_is_asked(tmp_path: Path) -> None:
    """No socket, or one that a killed run left behind: the file answers."""
    path = _made(tmp_path / "w.duckdb")
    assert client.query(tmp_path, path, ONE).table.to_pylist() == [{"a": 1}]
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(socket_path(tmp_path)))
    dead.close()
    assert client.query(tmp_path, path, ONE).table.to_pylist() == [{"a": 1}]
    with pytest.raises(RunNotFoundError):
        client.status(tmp_path)


def test_a_named_file_is_never_answered_for_by_the_run_of_another(tmp_path: Path) -> None:
    """A query about one file goes to the run that has it, and past a run that has another."""
    mine, other = _made(tmp_path / "mine.duckdb"), _made(tmp_path / "other.duckdb")
    tables = "select database_name, path from duckdb_databases() where path is not null"
    with open_warehouse(mine) as opened, serving(tmp_path, opened, dict):
        about_mine = Query(tables, warehouse=str(mine.resolve()))
        about_other = Query(tables, warehouse=str(other.resolve()))
        assert client.query(tmp_path, mine, about_mine).table.column("path").to_pylist() == [str(mine)]
        assert client.query(tmp_path, other, about_other).table.column("path").to_pylist() == [str(other)]


@pytest.mark.parametrize(
    ("home", "kind", "told"),
    [("none", UnreachableError, "there is no warehouse"), ("file", UnreachableError, "there is no warehouse")],
)
def test_nothing_there_is_told(tmp_path: Path, home: str, kind: type[Exception], told: str) -> None:
    """No folder, or a file in its place: there is no warehouse, and what makes one."""
    (tmp_path / "file").touch()
    with pytest.raises(kind, match=told):
        client.query(tmp_path / home, tmp_path / home / "warehouse.duckdb", ONE)


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    """Text where a database should be."""
    (tmp_path / "w.duckdb").write_text("hello" * 1000)
    with pytest.raises(SettingsError, match="not a DuckDB file"):
        client.query(tmp_path, tmp_path / "w.duckdb", ONE)


@contextlib.contextmanager
def _speaking(home: Path, answer: bytes) -> Iterator[None]:
    """Something on the socket that answers every request with `answer` and hangs up."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path(home)))
        listener.listen()

        def go() -> None:
            with contextlib.suppress(OSError):
                while True:
                    line, _ = listener.accept()
                    with line, contextlib.suppress(BrokenPipeError):  # who only looks whether somebody listens
                        line.recv(65536)
                        line.sendall(answer)

        thread = threading.Thread(target=go)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"])
def test_a_run_that_breaks_off_is_told(tmp_path: Path, answer: bytes) -> None:
    """A run that dies while it answers is no traceback."""
    with _speaking(tmp_path, answer), pytest.raises(UnreachableError, match="does not answer"):
        client.query(tmp_path, tmp_path / "w.duckdb", ONE)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_users_socket_is_not_asked(tmp_path: Path) -> None:
    """Who listens there tells the system who he is; a query is not even sent to another user."""
    listen = (
        "import os, socket, sys; os.setuid(65534); line = socket.socket(socket.AF_UNIX); line.bind(sys.argv[1]);"
        "os.chmod(sys.argv[1], 0o777); line.listen(); print(flush=True);"
        "[print(line.accept()[0].recv(1), flush=True) for _ in range(2)]"
    )
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o777 if folder == tmp_path else 0o755)
    path = socket_path(tmp_path)
    with subprocess.Popen([sys.executable, "-c", listen, str(path)], stdout=subprocess.PIPE, cwd="/") as squatter:
        assert squatter.stdout is not None
        squatter.stdout.readline()
        with pytest.raises(UnreachableError, match=r"another user \(uid 65534\)"):
            client.status(tmp_path)
        assert squatter.stdout.readline() == b"b''\n"
        with pytest.raises(UnreachableError, match=r"another user \(uid 65534\)"):
            asyncio.run(_as_the_page_asks(tmp_path))
        assert squatter.stdout.readline() == b"b''\n"


async def _as_the_page_asks(home: Path) -> bytes:
    connections = client.Connections(home)
    try:
        return await connections.read("GET", "/snapshot")
    finally:
        await connections.close()
