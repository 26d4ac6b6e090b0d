"""Certificates: what is wrong with each is told before a handshake fails."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lmdp.certificates import development_ca
from lmdp.doctor.kafka import client, embedded
from lmdp.doctor.result import Context


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A home with certificates, and a broker that is named with its client's."""
    folder = tmp_path / "certs"
    development_ca.make(folder)
    ca, cert, key = folder / "ca.pem", folder / "client.pem", folder / "client.key"
    return Context(tmp_path, tmp_path / "w", {}, "t", servers="k:1", ca=ca, cert=cert, key=key)


def _old(folder: Path) -> None:
    for path in (folder / "certs").glob("*"):
        path.unlink()
    development_ca.make(
        folder / "certs", now=dt.datetime.now(dt.UTC) - dt.timedelta(days=development_ca.LEAF_DAYS - 9, hours=-1)
    )


def _open_key(folder: Path) -> None:
    (folder / "certs" / "client.key").chmod(0o644)


def _open_folder(folder: Path) -> None:
    (folder / "certs").chmod(0o755)


def _other_key(folder: Path) -> None:
    (folder / "certs" / "client.key").write_bytes((folder / "certs" / "server.key").read_bytes())


def _other_ca(folder: Path) -> None:
    other = development_ca.make(folder / "other")
    for name in ("ca.pem", "ca.key"):
        (folder / "certs" / name).write_bytes((folder / "other" / name).read_bytes())
    assert other.ca.made


def _no_client(folder: Path) -> None:
    (folder / "certs" / "client.pem").unlink()


def test_what_is_right_is_told_with_its_days(context: Context) -> None:
    """Each certificate with the days that are left."""
    found = embedded(context)
    assert (found.state, found.text) == (
        "ok",
        "ca expires in 3,649 days, server expires in 824 days, client expires in 824 days",
    )
    mine = client(context)
    assert (mine.state, mine.text) == ("ok", f"{context.cert} expires in 824 days")


@pytest.mark.parametrize(
    ("spoil", "told", "is_clients"),
    [
        (_old, "expires in 9 days", True),
        (_open_key, "can be read by others (mode 0644)", True),
        (_other_key, "is not the key of --cert", True),
        (_no_client, "client.pem cannot be read", True),
        (_open_folder, "is open to others (mode 0755)", False),
        (_other_ca, "is not signed by", False),
    ],
)
def test_what_is_wrong_is_told(context: Context, spoil: Callable[[Path], None], told: str, is_clients: bool) -> None:
    """The fault, and the command that renews or closes."""
    spoil(context.home)
    found = embedded(context)
    assert (found.state, found.fix) == ("wrong", f"lmdp certs --home {context.home}")
    assert told in found.text
    mine = client(context)
    assert (mine.state == "wrong", told in mine.text) == (is_clients, is_clients)


def test_what_is_not_set_up_is_not_tried(tmp_path: Path, context: Context) -> None:
    """No folder, no broker, no files."""
    assert embedded(Context(tmp_path / "none", tmp_path, {}, "t")).state == "not tried"
    assert client(replace(context, servers=None)).state == "not tried"
    bare = replace(context, ca=None, cert=None, key=None)
    assert "TLS without a client certificate" in client(bare).text
    assert "plaintext" in client(replace(bare, plaintext=True)).text
