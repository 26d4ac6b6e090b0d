"""The limits of one message, as the environment has them."""

from __future__ import annotations

import pytest

from lmdp.errors import SettingsError
from lmdp.support.settings_reader import Reader, configured_limits, message_limits


@pytest.mark.parametrize(
    ("env", "limits"),
    [
        ({}, {}),
        ({"LMDP_MAX_MESSAGE_MEMORY": ""}, {}),
        ({"LMDP_MAX_MESSAGE_MEMORY": "8000000000"}, {"max_message_memory": 8_000_000_000}),
        (
            {"LMDP_MAX_DECOMPRESSED_BYTES": "1000000000", "LMDP_MAX_MESSAGE_ROW_BYTES": "7"},
            {"max_decompressed_bytes": 10**9, "max_message_row_bytes": 7},
        ),
    ],
)
def test_the_limits_that_are_given(env: dict[str, str], limits: dict[str, int]) -> None:
    """What is not given is the core's own, or the function's."""
    assert configured_limits(env) == limits
    assert message_limits(Reader(env), max_message_memory=5) == {"max_message_memory": 5, **limits}


def test_wrong_limits_are_refused_together() -> None:
    """Each fault in one message."""
    with pytest.raises(SettingsError) as caught:
        configured_limits({"LMDP_MAX_MESSAGE_MEMORY": "0", "LMDP_MAX_DECOMPRESSED_BYTES": "much"})
    assert "LMDP_MAX_MESSAGE_MEMORY is '0'; it is a whole number from 1 to" in str(caught.value)
    assert "LMDP_MAX_DECOMPRESSED_BYTES is 'much'" in str(caught.value)
