"""Snowflake: the settings, a login with the setup user's key, and one with the direct writer's."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from importlib.util import find_spec

from lmdp.doctor.result import Context, Result, not_tried, ok, refused, wrong
from lmdp.errors import ChannelInvalidError, LmdpError, SettingsError, UnreachableError
from lmdp.support.program import install_extras, program
from lmdp.support.specification_file import configured_spec

_LOGIN_S = 10
_QUICK = ("connection", "role", "privileges", "table", "refreshes", "tasks", "direct writer")
_UNSET = "SNOWFLAKE_ACCOUNT_URL is not set"


def settings(context: Context) -> Result:
    """Check names, roles, identifier style and retention."""
    from lmdp.sql.settings import SnowflakeSettings  # noqa: PLC0415 - loaded when needed

    if not _is_set(context):
        return not_tried(_UNSET)
    try:
        found = SnowflakeSettings.from_env(_env(context))
    except LmdpError as error:
        return wrong(" ".join(str(error).split()), "correct them in .env; see docs/snowflake-marketplace-setup.md")
    kept = "for ever" if found.retention_days is None else f"{found.retention_days} days"
    return ok(f"{found.place} as {found.setup_user}, {found.identifiers} identifiers, rows kept {kept}")


def login(context: Context) -> Result:
    """Log in by key pair; check role, privileges, table and refreshes, which costs next to no compute."""
    if not _is_set(context):
        return not_tried(_UNSET)
    if find_spec("snowflake") is None or find_spec("snowflake.connector") is None:
        return wrong("the connector is not installed", install_extras())
    from lmdp.snowflake.connection import access_from_env, connected  # noqa: PLC0415 - the connector takes a second
    from lmdp.snowflake.verify import Installation, verify  # noqa: PLC0415 - as above
    from lmdp.sql.settings import SnowflakeSettings  # noqa: PLC0415 - as above

    try:
        chosen = SnowflakeSettings.from_env(_env(context))
        with connected(access_from_env(context.env, chosen), login_seconds=_LOGIN_S) as connection:
            checks = verify(Installation(connection, chosen, configured_spec(), datetime.now(UTC)), _QUICK)
    except LmdpError as error:
        return refused(error, _remedy(context, error))
    failed = [f"{check.name}: {check.said}" for check in checks if check.ok is False]
    if failed:
        return wrong("; ".join(failed), f"{program()} snowflake setup, then {program()} snowflake verify")
    return ok("; ".join(check.said for check in checks))


def direct_writer(context: Context) -> Result:
    """Sign in with the direct writer's key, and ask for a channel of its pipe; nothing is opened or sent."""
    from lmdp.snowflake.streaming.channel import Channels  # noqa: PLC0415 - loaded when needed
    from lmdp.snowflake.streaming.session import Session  # noqa: PLC0415 - as above
    from lmdp.snowflake.streaming.settings import KEYS, WriterSettings  # noqa: PLC0415 - as above
    from lmdp.sql.settings import SnowflakeSettings  # noqa: PLC0415 - as above

    if context.env.get("LMDP_SINK") != "snowflake" and not any(context.env.get(name) for name in KEYS):
        return not_tried(f"{KEYS[0]} is not set")
    try:
        found = WriterSettings.from_env(context.env, SnowflakeSettings.from_env(_env(context)))
        with contextlib.closing(Session(found.account, retry_s=_LOGIN_S)) as session:
            Channels(session, found.place, "doctor").statuses(["lmdp.doctor"])
    except UnreachableError as error:
        return refused(error, "check the address, the proxy and Snowflake's network policy: docs/troubleshooting.md")
    except (LmdpError, ChannelInvalidError) as error:
        return refused(error, f"{program()} snowflake verify, and docs/direct-writer.md")
    return ok(f"{found.account.user} may use {found.place}")


def _env(context: Context) -> dict[str, str]:
    return {**context.env, "LMDP_ENVIRONMENT": context.environment or ""}


def _remedy(context: Context, error: LmdpError) -> str:
    """Return what helps against a login that failed; no command there replaces a key."""
    if isinstance(error, UnreachableError):
        return "check the address, the proxy and Snowflake's network policy: docs/troubleshooting.md"
    if isinstance(error, SettingsError):
        return "correct it in .env; see docs/snowflake-marketplace-setup.md"
    secret, file = (context.env.get(f"SNOWFLAKE_PRIVATE_KEY_{kind}") for kind in ("SECRET", "FILE"))
    key = f"--secret {secret}" if secret else f"--file {file}"
    return f"docs/troubleshooting.md; for a key: {program()} snowflake keypair --user setup {key} --show"


def _is_set(context: Context) -> bool:
    return bool(context.env.get("SNOWFLAKE_ACCOUNT_URL", "").strip())
