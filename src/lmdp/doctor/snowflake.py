"""Snowflake: the settings, and a login with the setup user's key."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.util import find_spec

from lmdp.doctor.context import Place
from lmdp.doctor.result import Verdict, not_tried, ok, refused, wrong
from lmdp.errors import LmdpError, UnreachableError
from lmdp.support.program import install_extras, program
from lmdp.support.specification_file import configured_spec

_LOGIN_S = 10
_QUICK = ("connection", "role", "privileges", "table")
_UNSET = "SNOWFLAKE_ACCOUNT_URL is not set"


def settings(place: Place) -> Verdict:
    """Names, roles, style, retention: whether SQL can be rendered for them."""
    from lmdp.sql.settings import SnowflakeSettings  # noqa: PLC0415 - loaded when needed

    if not _is_set(place):
        return not_tried(_UNSET)
    try:
        found = SnowflakeSettings.from_env(_env(place))
    except LmdpError as error:
        return wrong(" ".join(str(error).split()), "correct them in .env; see docs/snowflake-marketplace-setup.md")
    kept = "for ever" if found.retention_days is None else f"{found.retention_days} days"
    return ok(f"{found.place} as {found.setup_user}, {found.identifiers} identifiers, rows kept {kept}")


def login(place: Place) -> Verdict:
    """A login by key pair; role, privileges and table, which cost no compute."""
    if not _is_set(place):
        return not_tried(_UNSET)
    if find_spec("snowflake") is None or find_spec("snowflake.connector") is None:
        return wrong("the connector is not installed", install_extras())
    from lmdp.snowflake.connection import access_from_env, connected  # noqa: PLC0415 - the connector takes a second
    from lmdp.snowflake.verify import Scope, verify  # noqa: PLC0415 - as above
    from lmdp.sql.settings import SnowflakeSettings  # noqa: PLC0415 - as above

    try:
        chosen = SnowflakeSettings.from_env(_env(place))
        with connected(access_from_env(place.env, chosen), login_seconds=_LOGIN_S) as connection:
            checks = verify(Scope(connection, chosen, configured_spec(), datetime.now(UTC)), _QUICK)
    except UnreachableError as error:
        return refused(error, "check the address, the proxy and Snowflake's network policy: docs/troubleshooting.md")
    except LmdpError as error:
        return refused(
            error, f"{program()} snowflake keypair --user setup --file setup.p8, and have its key registered"
        )
    off = [f"{check.name}: {check.said}" for check in checks if check.ok is False]
    if off:
        return wrong("; ".join(off), f"{program()} snowflake setup, then {program()} snowflake verify")
    return ok("; ".join(check.said for check in checks))


def _env(place: Place) -> dict[str, str]:
    return {**place.env, "LMDP_ENVIRONMENT": place.environment or ""}


def _is_set(place: Place) -> bool:
    return bool(place.env.get("SNOWFLAKE_ACCOUNT_URL", "").strip())
