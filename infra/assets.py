"""The functions' code: the built zips, or a marked stub where they are not built yet."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aws_cdk import aws_lambda as lambda_

ROOT: Final = Path(__file__).resolve().parent.parent
# One folder below it for each environment.
OUTPUT: Final = ROOT / "cdk.out"
# A deployment looks for this text and refuses a template that has it.
STUB_MARK: Final = "lmdp-stub-not-for-deployment"
_STUB: Final = f'raise RuntimeError("{STUB_MARK}: run make build, then deploy again")\n'

# tools/build_lambda.py builds for this one; a test compares the two.
RUNTIME: Final = lambda_.Runtime.PYTHON_3_14
HANDLER_ZIP: Final = ROOT / "dist" / "handler.zip"
SETUP_ZIP: Final = ROOT / "dist" / "snowflake_setup.zip"


def code(zip_file: Path, *, stub: bool) -> lambda_.Code:
    """The zip where it is built, unless `stub` is asked for."""
    if zip_file.exists() and not stub:
        return lambda_.Code.from_asset(str(zip_file))
    return lambda_.Code.from_inline(_STUB)


def watcher_code() -> lambda_.Code:
    """The watcher's one file; it uses only what the runtime brings."""
    return lambda_.Code.from_asset(str(ROOT / "infra" / "watcher"), exclude=["__pycache__", "*.pyc"])
