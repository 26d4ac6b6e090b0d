"""What a terminal is shown of text from outside."""

from __future__ import annotations

import pytest

from lmdp.support.printable import printable, readable


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


@pytest.mark.parametrize(
    ("content", "is_whole", "shown"),
    [
        (b"", True, ("", False)),
        (b'{"a":\n1}', True, ('{"a":\n1}', False)),
        ("h\u00e9llo".encode(), True, ("h\u00e9llo", False)),
        (b"h\xc3", True, ("68 c3", False)),
        (b"h\xc3", False, ("h", True)),
        (b"x" * 11, True, ("x" * 10, True)),
        (b"x" * 40 + b"\xc3", True, ("x" * 10, True)),
        (b"\x0a\x00", True, ("0a 00", False)),
        (b"\xff" * 300, True, (" ".join(["ff"] * 256), True)),
    ],
)
def test_the_start_of_bytes(content: bytes, is_whole: bool, shown: tuple[str, bool]) -> None:
    """Text is shown as such, what is none in hexadecimal, and a character that is cut at the end is neither."""
    assert readable(content, 10, is_whole=is_whole) == shown
