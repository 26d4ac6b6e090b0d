"""What a program that is started beside this one is given of its environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_NEEDED: Final = frozenset(
    {
        *("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "USER"),
        *("JAVA_HOME", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"),
        *("PYTHONPATH", "VIRTUAL_ENV", "LMDP_SPEC"),
    }
)


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """What it needs, and nothing that may hold a secret, such as the keys of a cloud."""
    return {name: value for name, value in env.items() if name in _NEEDED or name.startswith("LC_")}
