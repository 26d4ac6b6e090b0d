"""The page that LMDP_SPEC names."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from lmdp.core.specification import load_spec
from lmdp.errors import SettingsError
from lmdp.support.specification_file import configured_spec

PAGE = resources.files("lmdp").joinpath("kafka_ingest_spec.md").read_text("utf-8")


def test_another_page(tmp_path: Path) -> None:
    """LMDP_SPEC names another page; without it, or where it is empty, the package's page is read."""
    mine = tmp_path / "mine.md"
    mine.write_text(PAGE.replace('name = "deviceName"', 'name = "mine"'), "utf-8")
    env = {"LMDP_SPEC": str(mine)}
    assert configured_spec(env).fields[2].name == "mine"
    assert configured_spec(env) is configured_spec(env)
    assert [configured_spec(env) is load_spec() for env in ({}, {"LMDP_SPEC": ""})] == [True, True]


@pytest.mark.parametrize(
    ("content", "fault"),
    [(None, "is not a file"), (b"\xff", "cannot read"), (b"# Nothing", "the specification has no block")],
)
def test_a_page_that_cannot_be_used(content: bytes | None, fault: str, tmp_path: Path) -> None:
    """A page that is missing, is not text, or has faults is refused with its name and the setting's."""
    page = tmp_path / "page.md"
    if content is not None:
        page.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        configured_spec({"LMDP_SPEC": str(page)})
    assert str(caught.value).startswith("LMDP_SPEC: ")
    assert str(page) in str(caught.value)
    assert fault in str(caught.value)
