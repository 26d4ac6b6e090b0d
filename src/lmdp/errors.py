"""The errors that a person reads, and the exit code that each one ends with.

    LmdpError                 1  the check that was asked for failed
    ├── NoRoom                1  a disk is full (it lives with what measures the room)
    ├── SettingsError         2  wrong usage or settings; the message names every fault at once
    └── Unreachable           3  a part (broker, file, endpoint) could not be reached

A message says what failed, what became of the data, and the next command. Faults *in the data* are no
exceptions to a person: they become rejects (see the specification), and never leave `transform`.
"""

from __future__ import annotations

from typing import ClassVar


class LmdpError(Exception):
    """Something that a person has to know; its text is shown as it is, without a traceback."""

    exit_code: ClassVar[int] = 1


class SettingsError(LmdpError):
    """Wrong usage, or settings that contradict each other."""

    exit_code: ClassVar[int] = 2

    @classmethod
    def of(cls, faults: list[str]) -> SettingsError:
        """One error that names every fault in `faults` (at least one)."""
        if len(faults) == 1:
            return cls(faults[0])
        return cls(f"{len(faults)} settings are wrong:\n" + "\n".join(f"  - {fault}" for fault in faults))


class Unreachable(LmdpError):  # noqa: N818 - it names the state of a part, as in 'the broker is unreachable'
    """A part that this command needs cannot be reached: a broker, a file in use, an endpoint."""

    exit_code: ClassVar[int] = 3
