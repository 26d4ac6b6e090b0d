"""`lmdp powerbi`: the Power BI project for the settings at hand."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from lmdp.cli.options import Environment, Json, option
from lmdp.powerbi.project import NAME, Source, Written, files, server, write
from lmdp.sql.settings import SnowflakeSettings


def powerbi(  # noqa: PLR0913 - each is an option
    *,
    output: Annotated[Path, option("--output -o DIR", "The folder to write; nothing else may be in it.")] = Path(
        "lmdp-power-bi"
    ),
    address: Annotated[
        str | None, option("--server HOST", "The Snowflake account's address.", env="SNOWFLAKE_ACCOUNT_URL")
    ] = None,
    warehouse: Annotated[
        str | None, option("--warehouse NAME", "The warehouse that runs the queries. Without it: SNOWFLAKE_WAREHOUSE.")
    ] = None,
    role: Annotated[
        str | None, option("--role NAME", "The role that reads. Without it: SNOWFLAKE_READER_ROLE.")
    ] = None,
    imported: Annotated[
        bool, option("--import", "Import hourly points, instead of querying Snowflake for each visual.")
    ] = False,
    force: Annotated[bool, option("--force", "Overwrite what was changed in the folder since.")] = False,
    environment: Environment = None,
    as_json: Json = False,
) -> None:
    """Write a Power BI project (PBIP): a semantic model over the views, and a report of five pages.

    Open lmdp.pbip in Power BI Desktop and sign in to Snowflake; no credentials are in the files. It also reads the
    settings SNOWFLAKE_DATABASE, SNOWFLAKE_SCHEMA, SNOWFLAKE_TARGET_LAG_MINUTES. The identifier style does not matter.

    Example: lmdp powerbi --server xy12345.snowflakecomputing.com --output report
    """
    settings = SnowflakeSettings.from_env({**os.environ, "LMDP_ENVIRONMENT": environment or ""})
    source = Source(
        server=server(address),
        warehouse=warehouse or settings.warehouse,
        database=settings.database,
        schema=settings.schema,
        role=role or settings.reader_role,
    )
    made = files(source, imported=imported, lag_minutes=settings.target_lag_minutes)
    typer.echo(_summary(write(output, made, force=force), as_json=as_json))


def _summary(written: Written, *, as_json: bool) -> str:
    opened = written.folder / f"{NAME}.pbip"
    if as_json:
        return json.dumps({"open": str(opened), "files": written.files, "changed": written.changed})
    counted = f"{written.files} files in {written.folder}, {written.changed} of them new or changed."
    return f"{counted}\nOpen {opened} in Power BI Desktop."
