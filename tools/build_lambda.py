"""Build a function's zip: reproducible, for the platform that Lambda runs it on, holding only what is imported.

    python tools/build_lambda.py                  dist/handler.zip for arm64 and the newest runtime
    python tools/build_lambda.py snowflake_setup  dist/snowflake_setup.zip: the custom resource that runs the SQL
    python tools/build_lambda.py --platform host  for this machine's Python, to try it here

uv fetches the wheels of the target platform; nothing is built from source, and no Docker is needed. The same inputs
give the same bytes. Modules are compiled when a Python of the runtime's version is at hand, which halves a cold start
(`uv python install 3.14` brings one).
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The newest runtime for which every wheel is there: zstandard 0.25 has none for Python 3.15.
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
RUNTIME = "3.14"
# Amazon Linux 2023 has glibc 2.34; wheels for an older one run there too.
LAMBDA_PLATFORM = "aarch64-manylinux_2_28"

# Unzipped, layers included: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_UNZIPPED_BYTES = 250 * 2**20


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# What the function imports of each package; `**` is any depth. The rest of the wheels is left out.
HANDLER = _listed("""
    lmdp/*.py lmdp/*.md lmdp/core/** lmdp/cloud/** lmdp/support/** lmdp/certificates/__init__.py
    lmdp/certificates/pem.py lmdp/snowflake/__init__.py lmdp/snowflake/connection.py lmdp/snowflake/secrets.py
    lmdp/snowflake/streaming/** !lmdp/snowflake/streaming/parallel.py !lmdp/snowflake/streaming/sink.py
    !lmdp/snowflake/streaming/store.py lmdp/sql/__init__.py lmdp/sql/settings.py cryptography/** _cffi_backend*
    msgspec/** zstandard/__init__.py
    zstandard/backend_c.* pybase64/** google/** !google/protobuf/compiler/** opentelemetry/proto/__init__.py
    opentelemetry/proto/common/** opentelemetry/proto/metrics/** opentelemetry/proto/resource/**
    aws_lambda_powertools/*.py aws_lambda_powertools/exceptions/** aws_lambda_powertools/logging/**
    aws_lambda_powertools/metrics/** aws_lambda_powertools/shared/** aws_lambda_powertools/tracing/**
    aws_lambda_powertools/warnings/** aws_lambda_powertools/utilities/__init__.py
    aws_lambda_powertools/utilities/jmespath_utils/** aws_lambda_powertools/utilities/typing/** aws_xray_sdk/*.py
    aws_xray_sdk/core/** aws_xray_sdk/ext/*.py wrapt/** jmespath/** dateutil/** !dateutil/zoneinfo/*.tar.gz six.py
    typing_extensions.py urllib3/** botocore/*.py botocore/cacert.pem botocore/crt/** botocore/docs/**
    botocore/retries/** botocore/vendored/** botocore/data/*.json
    botocore/data/firehose/*/endpoint-rule-set-1.json.gz botocore/data/s3/**
    botocore/data/secretsmanager/*/endpoint-rule-set-1.json.gz !*.pyi !*/py.typed !*/tests/**
""")
# The connector loads much of what it brings by name, so only what is certainly not needed is left out.
SNOWFLAKE_SETUP = _listed("""
    lmdp/*.py lmdp/*.md lmdp/certificates/__init__.py lmdp/certificates/pem.py lmdp/core/** lmdp/snowflake/**
    lmdp/sql/** lmdp/support/** asn1crypto/** certifi/** cffi/** charset_normalizer/** cryptography/** dateutil/**
    filelock/** idna/** jmespath/** jwt/** msgspec/** OpenSSL/** packaging/** platformdirs/** pycparser/** pytz/**
    requests/** snowflake/** sortedcontainers/** tomlkit/** urllib3/** boto3/** s3transfer/** _cffi_backend* six.py
    typing_extensions.py *.dist-info/METADATA zstandard/__init__.py zstandard/backend_c.* pybase64/** botocore/*.py
    botocore/cacert.pem botocore/crt/** botocore/docs/** botocore/retries/** botocore/vendored/**
    botocore/data/firehose/** botocore/data/s3/** botocore/data/secretsmanager/** botocore/data/ssm/**
    botocore/data/sts/** botocore/data/*.json !boto3/examples/** !*.pyi !*/py.typed !*/tests/**
""")

FUNCTIONS = {"handler": (HANDLER, "lambda.txt"), "snowflake_setup": (SNOWFLAKE_SETUP, "snowflake_setup.txt")}


@dataclass(frozen=True, slots=True)
class Target:
    """A Python version (`3.14`), uv's name of a platform (None: this machine's), and what to call the zip."""

    python: str
    platform: str | None
    zip: Path


def main() -> None:
    """Build, and say how large it became."""
    options = _options()
    python = f"{sys.version_info.major}.{sys.version_info.minor}" if options.platform == "host" else RUNTIME
    platform = None if options.platform == "host" else LAMBDA_PLATFORM
    patterns, requirements = FUNCTIONS[options.function]
    target = Target(python, platform, options.output or ROOT / "dist" / f"{options.function}.zip")
    with tempfile.TemporaryDirectory() as folder:
        stage = Path(folder)
        install(stage, target, options.requirements or ROOT / "requirements" / requirements)
        prune(stage, patterns)
        compiled = compile_modules(stage, target)
        unzipped = pack(stage, target.zip)
    if unzipped > MAX_UNZIPPED_BYTES:
        sys.exit(f"{target.zip}: {unzipped / 2**20:.1f} MiB unzipped; Lambda takes {MAX_UNZIPPED_BYTES // 2**20} MiB.")
    how = "modules compiled" if compiled else f"modules not compiled: no Python {target.python} on this machine"
    size = target.zip.stat().st_size
    print(f"{target.zip}: {size / 2**20:.2f} MiB, {unzipped / 2**20:.2f} MiB unzipped; {how}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("function", nargs="?", choices=tuple(FUNCTIONS), default="handler")
    parser.add_argument("--platform", choices=("lambda", "host"), default="lambda")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--requirements", type=Path)
    return parser.parse_args()


def find_uv() -> str:
    """The project's uv, or the machine's."""
    own = ROOT / ".uv" / "bin" / "uv"
    found = str(own) if own.exists() else shutil.which("uv")
    if not found:
        sys.exit("uv is not here; `make build` fetches it into this folder.")
    return found


def install(stage: Path, target: Target, requirements: Path) -> None:
    """The pinned wheels, by their hashes, and this project's own modules."""
    platform = ["--python-platform", target.platform] if target.platform else []
    python = ["--python-version", target.python]
    wheels = ["--only-binary", ":all:", "--no-deps", "--require-hashes", "--no-compile-bytecode"]
    command = [find_uv(), "pip", "install", "--quiet", "--python", sys.executable, "--target", str(stage)]
    subprocess.run([*command, *python, *platform, *wheels, "-r", str(requirements)], check=True)
    shutil.copytree(ROOT / "src" / "lmdp", stage / "lmdp", ignore=shutil.ignore_patterns("__pycache__"))


def prune(stage: Path, patterns: tuple[str, ...]) -> None:
    """Remove every file that `patterns` do not name; a pattern with `!` takes some of them out again."""
    for path in sorted(stage.rglob("*"), reverse=True):
        name = path.relative_to(stage).as_posix()
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif not kept(name, patterns):
            path.unlink()


def kept(name: str, patterns: tuple[str, ...]) -> bool:
    """Return whether `patterns` name a file; one with `!` takes it out again."""
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    return any(_matches(name, p) for p in wanted) and not any(_matches(name, p) for p in unwanted)


def _matches(name: str, pattern: str) -> bool:
    """`*` stays within a folder in a pattern with folders in it; `**` at the end does not."""
    if pattern.endswith("/**"):
        head = pattern.removesuffix("/**")
        return any(fnmatch.fnmatchcase(parent, head) for parent in _parents(name))
    if pattern.startswith("*"):
        return fnmatch.fnmatchcase(name, pattern)
    return name.count("/") == pattern.count("/") and fnmatch.fnmatchcase(name, pattern)


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def compile_modules(stage: Path, target: Target) -> bool:
    """Compile with the runtime's own Python version, so that Lambda need not at each cold start; False without one.

    The compiled files name a hash that is not checked: a zip has no dates to compare.
    """
    find = [find_uv(), "python", "find", "--no-python-downloads", target.python]
    found = subprocess.run(find, check=False, capture_output=True, text=True)
    if found.returncode != 0:
        return False
    options = ["-q", "-j", "1", "--invalidation-mode", "unchecked-hash", "-s", str(stage), "-p", "/var/task"]
    env = {**os.environ, "PYTHONHASHSEED": "0"}
    subprocess.run([found.stdout.strip(), "-m", "compileall", *options, str(stage)], check=True, env=env)
    return True


def pack(stage: Path, output: Path) -> int:
    """Zip the files by name, all of one date and mode; returns their size in bytes."""
    output.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(stage.rglob("*")):
            if path.is_file():
                entry = zipfile.ZipInfo(path.relative_to(stage).as_posix(), (1980, 1, 1, 0, 0, 0))
                entry.external_attr = 0o644 << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                content = path.read_bytes()
                size += len(content)
                archive.writestr(entry, content, compresslevel=9)
    return size


if __name__ == "__main__":
    main()
