"""The command of a replay, in this process."""

from __future__ import annotations

import os
from pathlib import Path

import typer
from typer.testing import CliRunner, Result

from lmdp.cli.command import Command
from lmdp.cli.replay import replay


def run(*words: str | Path, **env: str) -> Result:
    """Run the command in this process."""
    app = typer.Typer()
    app.command(cls=Command)(replay)
    clean = dict.fromkeys((name for name in os.environ if name.startswith("LMDP_")), "")
    return CliRunner().invoke(app, [str(word) for word in words], env={**clean, **env})
