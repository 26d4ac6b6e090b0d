"""Text from outside, as a terminal may show it.

Names and values come from whoever may publish, and a terminal obeys some characters: it would set its title, fill the
clipboard, or show text in another order (https://nvd.nist.gov/vuln/detail/CVE-2021-42574). They are shown by their
numbers instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Final

_HEX: Final = 256  # bytes of what is no text
_CONTROLS: Final = (
    *range(0x20),
    *range(0x7F, 0xA0),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
    *range(0xD800, 0xE000),  # names of files that are no UTF-8; print refuses them
)
_SHOWN: Final = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _CONTROLS} | {
    ord(kept): kept for kept in "\n\t"
}


def printable(text: str) -> str:
    """The text without what moves a terminal, but for line ends and tabs."""
    return text.translate(_SHOWN)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural but for 1."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def did_you_mean(name: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """Return the known name that is nearest as ` (did you mean …?)`; empty where none is so much like it."""
    from difflib import get_close_matches  # noqa: PLC0415 - loaded only for a name that is unknown

    near = get_close_matches(name, known, 1, likeness)
    return f" (did you mean {near[0]}?)" if near else ""


def readable(content: bytes, most: int, *, is_whole: bool = True) -> tuple[str, bool]:
    """Return the start of bytes as text of `most` characters, and whether there is more; else 256 in hexadecimal."""
    is_whole = is_whole and len(content) <= 4 * most
    with contextlib.suppress(UnicodeDecodeError):
        text = content[: 4 * most].decode("utf-8", "strict" if is_whole else "ignore")
        if text and all(character.isprintable() or character.isspace() for character in text[:most]):
            return text[:most], len(text) > most or not is_whole
    return content[:_HEX].hex(" "), len(content) > _HEX or not is_whole
