"""Reviewers' own tools: cdk-nag finds what is acknowledged and no more, and cfn-lint has nothing to say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import OTHER_OPTIONS, Templates, example_values


def _findings(folder: Path, values: dict[str, str]) -> set[tuple[str, str]]:
    """Path and rule of everything that is found when nothing is acknowledged."""
    from infra.app import build, open_app  # noqa: PLC0415 - only where the infrastructure's packages are
    from infra.settings import Settings  # noqa: PLC0415 - as above

    app = open_app("example", outdir=folder)
    build(app, Settings.read("example", values), stub=True)
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()
    report = json.loads((folder / "validation-report.json").read_text())
    return {
        (construct["constructPath"], violation["ruleName"])
        for plugin in report["pluginReports"]
        for violation in plugin["violations"]
        for construct in violation["violatingConstructs"]
    }


@pytest.mark.parametrize("options", [{}, OTHER_OPTIONS], ids=["example", "full"])
def test_each_finding_is_acknowledged_by_itself(tmp_path: Path, options: dict[str, str]) -> None:
    """No finding is left, no acknowledgement is for nothing, and each has a reason in a sentence."""
    from infra.acknowledgements import acknowledged  # noqa: PLC0415 - only where the infrastructure's packages are
    from infra.settings import Settings  # noqa: PLC0415 - as above

    values = {**example_values(), **options}
    settings = Settings.read("example", values)
    listed = acknowledged(settings)
    assert _findings(tmp_path, values) == {
        (f"{settings.names.stack(one.stack)}/{one.path}", one.finding) for one in listed
    }
    assert all(len(one.reason) > 30 and one.reason.endswith(".") for one in listed)
    assert len({(one.stack, one.path, one.finding) for one in listed}) == len(listed)


@pytest.mark.usefixtures("example", "full", "direct")
def test_cfn_lint_has_nothing_to_say(example_folder: Path, full_folder: Path, direct_folder: Path) -> None:
    """Every template of two assemblies, and what differs in the third."""
    templates = [
        str(file) for folder in (example_folder, full_folder) for file in sorted(folder.glob("*.template.json"))
    ]
    assert len(templates) == 9 + 10
    templates += [str(direct_folder / f"lmdp-example-{stack}.template.json") for stack in ("delivery", "pipe", "base")]
    lint = [str(Path(sys.executable).with_name("cfn-lint")), "--", *templates]
    done = subprocess.run(lint, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_synthesis_is_the_same_each_time(example: Templates, full: Templates) -> None:
    """A template names no time, no folder of this machine and no user."""
    whole = json.dumps([example, full])
    assert str(Path.home()) not in whole.replace('"/root"', "")
    assert str(Path(__file__).parents[2]) not in whole
