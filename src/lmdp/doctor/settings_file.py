"""The settings: names that nothing reads, which are mostly typing errors, and a file that others can read."""

from __future__ import annotations

import os
import stat

from dotenv import dotenv_values

from lmdp.doctor.context import Context
from lmdp.doctor.result import Result, not_tried, ok, wrong
from lmdp.support.settings_reader import PREFIXES, unread


def settings_file(context: Context) -> Result:
    """Check the names in the environment and in `.env`, and who can read the file."""
    file = context.env_file
    named = set(dotenv_values(file)) if file.is_file() else set()
    given = {name for name in {*named, *context.env} if name.startswith(PREFIXES)}
    unknown = unread(given)
    if unknown:
        return wrong(
            f"nothing reads {', '.join(unknown)}", f"correct it in {file} or the environment; see .env.example"
        )
    if file.is_file() and "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE" in named and _is_open(file.stat().st_mode):
        return wrong(f"{file} holds a passphrase, and others can read it", f"chmod 600 {file}")
    if not given:
        return not_tried("nothing is set; everything has a default for a first look")
    return ok(f"{len(given)} names are set" + (f", {len(named & given)} of them in {file}" if named else ""))


def _is_open(mode: int) -> bool:
    return os.name == "posix" and bool(mode & (stat.S_IRWXG | stat.S_IRWXO))
