"""`lmdp flatten`: bundles in, row events out, with no broker and no warehouse."""

import contextlib
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated

import typer

from lmdp.cli.options import OrgId, option
from lmdp.core.encode import encode
from lmdp.core.pipeline import Counts, TransformSettings, transform
from lmdp.core.rejects import Reject, envelope
from lmdp.errors import SettingsError, UnreachableError
from lmdp.support.input_files import read_messages
from lmdp.support.opening import open_nonblocking
from lmdp.support.reject_share import RejectShare
from lmdp.support.settings_reader import configured_limits
from lmdp.support.specification_file import configured_spec

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE…",
        help="Bundles: .jsonl and .ndjson (also .gz, .zst) and - (standard input) hold one a line, "
        "as does any file whose first line is a complete request followed by more lines; any other file is one "
        "message.",
    ),
]
Rejects = Annotated[Path | None, option("--rejects FILE", "Write rejects here, one JSON object a line.")]
Report = Annotated[Path | None, option("--report FILE", "Write the counts here, as one JSON object.")]
Strict = Annotated[bool, option("--strict", "Exit with 1 if anything was rejected, not only if most was.")]


def flatten(
    files: Files,
    *,
    org_id: OrgId = None,
    rejects: Rejects = None,
    report: Report = None,
    strict: Strict = False,
) -> None:
    """Flatten OTLP bundles to row events: NDJSON on standard output.

    Rejects are counted on standard error, and written with --rejects; valid rows are still printed. Exits 1 if no
    row was made of what was read, or if most of it was rejected.

    Example: lmdp flatten --org-id acme bundle.json | head -1
    """
    if found := _faults(files, rejects, report):
        raise SettingsError.of(found)
    started = time.monotonic()
    limits = configured_limits()
    settings = TransformSettings(org_id=org_id, spec=configured_spec(), **limits)  # type: ignore[arg-type]  # numbers alone
    counts, tally, bytes_out, first = Counts(), RejectShare(), 0, None
    with _writing(rejects) as rejects_file:
        for message in itertools.chain.from_iterable(map(read_messages, files)):
            done = transform((message,), settings)
            counts += done.counts
            tally = tally.plus(RejectShare.of(done.counts, done.rejects))
            bytes_out += _print_rows(encode(done.rows, settings.spec))
            first = first or next(iter(done.rejects), None)
            _write_rejects(rejects_file, done.rejects)
    summary = {**counts.report(), "bytesOut": bytes_out, "seconds": round(time.monotonic() - started, 3)}
    if report is not None:
        with _writing(report) as report_file:
            print(json.dumps(summary), file=report_file)
    _warn(counts, first, rejects)
    if tally.is_fault() or (strict and counts.rejected_messages):
        raise typer.Exit(1)


def _faults(files: list[str], rejects: Path | None, report: Path | None) -> list[str]:
    faults = []
    if files.count("-") > 1:
        faults.append("- is named more than once: standard input can be read once")
    if rejects and report and rejects.resolve() == report.resolve():
        faults.append("--rejects and --report name the same file")
    read = {Path(name).resolve() for name in files if name != "-"}
    for name, path in (("--rejects", rejects), ("--report", report)):
        if path and path.resolve() in read:
            faults.append(f"{name} {path} would overwrite a file that is to be read")
    return faults


def _print_rows(rows: list[bytes]) -> int:
    """Print rows a line each; returns their bytes, line ends not counted."""
    if rows:
        sys.stdout.buffer.write(b"\n".join(rows) + b"\n")
    return sum(map(len, rows))


@contextlib.contextmanager
def _writing(path: Path | None) -> Iterator[IO[str] | None]:
    if path is None:
        yield None
        return
    try:
        with open(path, "w", encoding="utf-8", opener=open_nonblocking) as file:
            yield file
    except BrokenPipeError:  # of standard output
        raise
    except OSError as error:
        raise UnreachableError(f"cannot write {path}: {error.strerror}. The bundles are as they were.") from error


def _write_rejects(file: IO[str] | None, rejects: list[Reject]) -> None:
    now_ms = time.time_ns() // 1_000_000
    for reject in rejects if file is not None else ():
        print(json.dumps(envelope(reject, now_ms)), file=file)


def _warn(counts: Counts, first: Reject | None, kept: Path | None) -> None:
    """Report what was rejected: on standard error, since standard output is for rows."""
    if first is None:
        return
    where = f"kept in {kept}" if kept else "keep them with --rejects FILE"
    print(
        f"{counts.rejected_messages:,} of {counts.messages:,} messages rejected, whole or in part "
        f"({counts.rejected_datapoints:,} datapoints); {where}. The first: {first.code}: {first.message}",
        file=sys.stderr,
    )
