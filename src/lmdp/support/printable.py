"""Text from outside, as a terminal may show it.

Names and values come from whoever may publish, and a terminal obeys some characters: it would set its title, fill the
clipboard, or show text in another order (https://nvd.nist.gov/vuln/detail/CVE-2021-42574). They are shown by their
numbers instead.
"""

from __future__ import annotations

from typing import Final

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
