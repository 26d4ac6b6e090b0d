"""What a terminal is shown of text from outside."""

from __future__ import annotations

import pytest

from lmdp.support.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, \u00fc and \u65e5\u672c\n\tnext", "plain, \u00fc and \u65e5\u672c\n\tnext"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x1b[31mred\r", "\\x1b[31mred\\x0d"),
        ("\x9b31m\x7f\0", "\\x9b31m\\x7f\\x00"),
        ("a\u202eb\u2066", "a\\u202eb\\u2066"),
        ("\udcff", "\\udcff"),
    ],
)
def test_what_moves_a_terminal_is_shown_by_its_number(text: str, shown: str) -> None:
    """Neither the terminal nor the order of the text obeys what somebody published, and print takes all of it."""
    assert printable(text) == shown
    shown.encode()
