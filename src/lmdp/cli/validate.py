"""`lmdp validate`: row events against the specification."""

import sys
from typing import Annotated

import msgspec
import typer

from lmdp.cli.options import Json, option
from lmdp.errors import SettingsError
from lmdp.support.input_files import read_lines
from lmdp.support.printable import printable
from lmdp.support.specification_file import configured_spec

_SHOWN = 20

Files = Annotated[
    list[str] | None,
    typer.Argument(metavar="FILE…", help="Row events, one JSON object a line (also .gz, .zst); - is standard input."),
]
Schema = Annotated[bool, option("--schema", "Print the JSON Schema of a row event; check nothing.")]


def validate(files: Files = None, *, schema: Schema = False, as_json: Json = False) -> None:
    """Check row events against the specification; exits 1 if one does not fit.

    Example: lmdp flatten --org-id acme bundle.json | lmdp validate -
    """
    from lmdp.support.row_validator import faults, validator  # noqa: PLC0415 - jsonschema takes 0.1 s to load

    spec = configured_spec()
    if schema:
        print(msgspec.json.format(msgspec.json.encode(spec.schema)).decode())
        return
    if not files:
        raise SettingsError("nothing to check: name files of row events, or - for standard input")
    checks, rows, wrong = validator(spec), 0, 0
    for name in files:
        for number, line in read_lines(name):
            rows += 1
            found = faults(line, spec, checks)
            wrong += bool(found)
            if wrong <= _SHOWN:
                for fault in found:
                    print(printable(f"{name}:{number}: {fault}"), file=sys.stderr)
    if wrong > _SHOWN:
        print(f"… and {wrong - _SHOWN:,} more rows that do not fit", file=sys.stderr)
    counted = {"rows": rows, "invalid": wrong}
    print(
        msgspec.json.encode(counted).decode() if as_json else f"{rows:,} rows, {wrong:,} do not fit the specification"
    )
    if wrong:
        raise typer.Exit(1)
