"""The page's process beside the run: it ends with it, and its own end never stops the pipeline."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import psutil
import pytest

from lmdp.page.process import page
from page.sites import Site, free_port, site_in
from running import PROGRAM, environment, rows, started, until

if TYPE_CHECKING:
    from pathlib import Path


def page_of(site: Site) -> psutil.Process:
    """The process that serves the page."""
    children = psutil.Process(site.process.pid).children()
    return next(child for child in children if "lmdp.page" in child.cmdline())


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_the_page_ends_with_the_run(tmp_path: Path, by: signal.Signals) -> None:
    """However the run ends, nobody listens on its page's port soon after."""
    with site_in(tmp_path) as site:
        child = page_of(site)
        site.process.send_signal(by)
        site.process.wait(60)
        until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 30)


def test_a_page_that_dies_is_restarted_and_the_run_continues(tmp_path: Path) -> None:
    """The same address answers again, from another process; the pipeline was never away."""
    with site_in(tmp_path) as site:
        child = page_of(site)
        child.kill()
        until(lambda: rows(site.home, "select 1 as n")[0]["n"] == 1)
        until(lambda: site.answers() and page_of(site).pid != child.pid, 90)
        assert "restarting it" in (tmp_path / "stderr").read_text()


def test_a_taken_port_is_reported_and_another_one_found(tmp_path: Path) -> None:
    """One line names the address; the next free port is taken, so that a restart finds the same."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = ("--broker", "memory", "--simulate", "0", "--page", "--page-port", str(port))
        with started("run", *words, folder=tmp_path) as process:
            log = tmp_path / "stderr"
            until(lambda: "the page is at" in log.read_text(), 90)
            said = re.search(r"the page is at http://127\.0\.0\.1:(\d+) \(port (\d+) is taken\)", log.read_text())
            assert said is not None
            assert int(said[2]) == port
            assert port < int(said[1]) <= port + 20
            process.terminate()
            process.wait(60)


def test_a_terminal_shows_the_address_with_the_token(tmp_path: Path) -> None:
    """A log gets it without the token, and how to see it."""
    said: list[str] = []
    port = free_port()
    hidden = f" (in a terminal, lmdp status --home {tmp_path} shows it with its token)"
    for shows, rest in ((True, "/?token={token}"), (False, hidden)):
        with page(tmp_path, said.append, port=port, shows_token=shows) as url:
            until(lambda: said, 90)
            assert url() == f"http://127.0.0.1:{port}"
        token = (tmp_path / "page.token").read_text().strip()
        assert said.pop(0) == f"the page is at http://127.0.0.1:{port}" + rest.format(token=token)


def test_a_page_that_cannot_start_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is said in one line."""
    said: list[str] = []
    (tmp_path / "nicegui").mkdir()
    (tmp_path / "nicegui" / "__init__.py").write_text("raise ImportError('no such thing')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with page(tmp_path, said.append, port=free_port()):
        until(lambda: said, 60)
    assert said == ["no page: ImportError: no such thing. The pipeline runs without it"]


@pytest.mark.parametrize(
    ("words", "env", "wanted"),
    [
        ([], {}, True),
        (["--no-page"], {}, False),
        ([], {"LMDP_PAGE": "false"}, False),
        (["--duration", "60"], {}, False),
        (["--until-idle", "--duration", "60"], {}, False),
        (["--duration", "60", "--page"], {}, True),
    ],
)
def test_a_run_that_ends_by_itself_has_no_page_unless_asked(
    tmp_path: Path, words: list[str], env: dict[str, str], *, wanted: bool
) -> None:
    """A script's run starts no server that nobody looks at."""
    run = ["run", "--broker", "memory", "--simulate", "1", "--instances", "2", *words]
    given = {name: text for name, text in environment(**env).items() if name in env or name != "LMDP_PAGE"}
    with subprocess.Popen([*PROGRAM, *run], cwd=tmp_path, env=given, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            # What comes before the pipeline's first line is started by then.
            for line in process.stderr:
                if "published" in line:
                    break
            children = [" ".join(child.cmdline()) for child in psutil.Process(process.pid).children()]
            assert any("lmdp.page" in words for words in children) is wanted
        finally:
            process.terminate()


def test_nothing_is_left_in_the_folder(site: Site) -> None:
    """The library keeps no files of its own beside the warehouse."""
    assert {path.name for path in site.folder.iterdir()} == {".lmdp", "stderr"}
    assert "Traceback" not in (site.folder / "stderr").read_text()
