"""Settings of the SQL: names, roles, retention, and the style of column names. One frozen object."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final
from urllib.parse import SplitResult, urlsplit

from lmdp.core.column_names import KEY_STYLES, KeyStyle
from lmdp.errors import SettingsError
from lmdp.support.settings_reader import Reader, ipv4_range

# https://docs.snowflake.com/en/sql-reference/identifiers-syntax, without the lower case that would be upper-cased.
_NAME: Final = re.compile(r"[A-Z_][A-Z0-9_$]{0,254}")
# Reserved or limited as names of objects: https://docs.snowflake.com/en/sql-reference/reserved-keywords
_RESERVED: Final = frozenset(
    """
    ACCOUNT ALL ALTER AND ANY AS BETWEEN BY CASE CAST CHECK COLUMN CONNECT CONNECTION CONSTRAINT CREATE CROSS CURRENT
    CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER DATABASE DELETE DISTINCT DROP ELSE EXISTS FALSE FOLLOWING
    FOR FROM FULL GRANT GROUP GSCLUSTER HAVING ILIKE IN INCREMENT INNER INSERT INTERSECT INTO IS ISSUE JOIN LATERAL LEFT
    LIKE LOCALTIME LOCALTIMESTAMP MINUS NATURAL NOT NULL OF ON OR ORDER ORGANIZATION QUALIFY REGEXP REVOKE RIGHT RLIKE
    ROW ROWS SAMPLE SCHEMA SELECT SET SOME START TABLE TABLESAMPLE THEN TO TRIGGER TRUE TRY_CAST UNION UNIQUE UPDATE
    USING VALUES VIEW WHEN WHENEVER WHERE WITH
    """.split()  # noqa: SIM905 - as a list it has a hundred lines
)
_NAMES: Final = (
    "database", "schema", "warehouse", "setup_role", "firehose_role", "reader_role", "setup_user", "firehose_user",
    "refresh_warehouse",
)  # fmt: skip

NO_ACCOUNT: Final = (
    "SNOWFLAKE_ACCOUNT_URL is not set; it is the account's address, such as xy12345.snowflakecomputing.com"
)
PROD: Final = "prod"
_ENVIRONMENT: Final = re.compile(r"[a-z0-9]{1,12}")

# A row has to outlive the moment in which its hour becomes immutable, whatever the session's time zone.
_LEAST_DAYS: Final = 3
_MOST: Final = 100_000  # of days, minutes and credits: beyond any use, and within every date and number of SQL


@dataclass(frozen=True, slots=True)
class SnowflakeSettings:
    """Names as Snowflake stores them; `retention_days` of raw rows (None: for ever), lag in minutes, credits a month.

    The defaults are the names of one machine and of the environment `prod`; `names_of` has those of any other.
    `allowed_ips` (CIDR) is who may sign in as the setup user; empty: no network policy.
    """

    database: str = "LM_METRICS"
    schema: str = "PIPELINE"
    warehouse: str = "LM_FIREHOSE_WH"
    setup_role: str = "LM_SETUP_ROLE"
    firehose_role: str = "LM_FIREHOSE_ROLE"
    reader_role: str = "LM_READER_ROLE"
    setup_user: str = "LM_SETUP_SVC"
    firehose_user: str = "LM_FIREHOSE_SVC"
    refresh_warehouse: str = "LM_REFRESH_WH"
    identifiers: KeyStyle = "quoted"
    retention_days: int | None = 30
    target_lag_minutes: int = 60
    credit_quota: int = 50
    refresh_credit_quota: int = 400
    allowed_ips: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not be rendered. Raises SettingsError with every fault."""
        faults = _faults(self)
        if faults:
            raise SettingsError.of(faults)

    @property
    def place(self) -> str:
        """Database and schema, as SQL names them."""
        return f"{self.database}.{self.schema}"

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> SnowflakeSettings:
        """Read `SNOWFLAKE_DATABASE` and so on, and `RETENTION_DAYS`. Raises SettingsError with every fault.

        What is not set has the name of the environment: `LMDP_ENVIRONMENT`, or `SNOWFLAKE_ENVIRONMENT` for one that
        shares another's objects on purpose.
        """
        read = Reader(env, _faults_of_environment(env))
        given: dict[str, object] = {**names_of(environment(env))}
        for field in fields(cls):
            name = variable(field.name)
            if text := read.given(name):
                try:
                    given[field.name] = _read(field.name, text)
                except ValueError as error:
                    read.fault(f"{name} is {text!r}; {error}")
        if read.faults:
            raise SettingsError.of(read.faults)
        return cls(**given)  # type: ignore[arg-type]  # checked as it is made


def address(account_url: str) -> SplitResult:
    """Return the parts of an account's address, which may be a bare host."""
    return urlsplit(account_url if "//" in account_url else f"https://{account_url}")


def variable(field: str) -> str:
    """Return the name of the setting that a field of SnowflakeSettings is read from."""
    return "RETENTION_DAYS" if field == "retention_days" else f"SNOWFLAKE_{field.upper()}"


def environment(env: Mapping[str, str]) -> str:
    """Return the environment whose names in Snowflake are used; `prod` on one machine, where none is named."""
    return (env.get("SNOWFLAKE_ENVIRONMENT", "").strip() or env.get("LMDP_ENVIRONMENT", "").strip()) or PROD


def names_of(environment: str) -> dict[str, str]:
    """Return an environment's names by field: LM_METRICS_DEV, LM_FIREHOSE_DEV_WH; `prod` has the plain ones."""
    plain = {field.name: str(field.default) for field in fields(SnowflakeSettings) if field.name in _NAMES}
    if environment == PROD:
        return plain
    mark = environment.upper()
    apart = {name: "_".join((*text.split("_")[:-1], mark, text.split("_")[-1])) for name, text in plain.items()}
    return {**apart, "database": f"{plain['database']}_{mark}", "schema": plain["schema"]}


def _faults_of_environment(env: Mapping[str, str]) -> list[str]:
    """Refuse a name that cannot be part of an identifier, and prod's names in another environment, unless asked for."""
    wanted = environment(env)
    if not _ENVIRONMENT.fullmatch(wanted):
        return [f"the environment is {wanted!r}; it is 1 to 12 lower-case letters and digits"]
    if wanted == PROD:
        return []
    plain, own = names_of(PROD), names_of(wanted)
    return [
        f"SNOWFLAKE_{field.upper()} is {name}, which is prod's; {wanted} has {own[field]}. Leave it out, or share all "
        "of prod's objects: SNOWFLAKE_ENVIRONMENT=prod"
        for field, name in plain.items()
        if field != "schema" and env.get(f"SNOWFLAKE_{field.upper()}", "").strip().upper() == name
    ]


def _read(field: str, text: str) -> object:
    if field in _NAMES:
        return text.upper()
    if field == "identifiers":
        return text
    if field == "allowed_ips":
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if field == "retention_days" and text.lower() == "forever":
        return None
    if not text.isdecimal():
        raise ValueError("it is a whole number" + (", or forever" if field == "retention_days" else ""))
    if int(text) > _MOST:
        raise ValueError(f"it is {_MOST:,} at most")
    return int(text)


def _faults(settings: SnowflakeSettings) -> list[str]:
    faults = [
        f"SNOWFLAKE_{name.upper()} is {getattr(settings, name)!r}; it is letters, digits and _, and a letter first"
        for name in _NAMES
        if not _NAME.fullmatch(getattr(settings, name))
    ]
    faults += [
        f"SNOWFLAKE_{name.upper()} is {getattr(settings, name)}, a word that Snowflake reserves; give another name"
        for name in _NAMES
        if getattr(settings, name) in _RESERVED
    ]
    if settings.identifiers not in KEY_STYLES:
        faults.append(f"SNOWFLAKE_IDENTIFIERS is {settings.identifiers!r}; it is one of {', '.join(KEY_STYLES)}")
    if settings.retention_days is not None and settings.retention_days < _LEAST_DAYS:
        faults.append(f"RETENTION_DAYS is {settings.retention_days}; it is {_LEAST_DAYS} or more, or forever")
    if settings.target_lag_minutes < 1:
        faults.append("SNOWFLAKE_TARGET_LAG_MINUTES is 1 or more")
    for name in ("credit_quota", "refresh_credit_quota"):
        if getattr(settings, name) < 1:
            faults.append(f"SNOWFLAKE_{name.upper()} is 1 or more")
    wrong = [text for text in settings.allowed_ips if ipv4_range(text) is None]
    return faults + [f"SNOWFLAKE_ALLOWED_IPS: {text!r} is not an IPv4 range" for text in wrong]
