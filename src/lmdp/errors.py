"""Every error, reject code and drop reason of lmdp, drawn once.

Errors for the user; the program ends with their exit code, and shows their text without a traceback:

    LmdpError                        1  the requested check failed, or data was lost
    ├── AlreadyReplayedError         1  a replay's source was replayed before, or has changed since
    ├── ChecksumError                1  a download is not the pinned file
    ├── DeliveryError                1  Firehose or Snowflake did not accept every row of a batch
    ├── DiskFullError                1  a disk has no space for a write
    ├── InternalError                1  a fault of the program itself
    ├── ObjectNotFoundError          1  an object in Snowflake does not exist, or is hidden from the role
    ├── PrivilegeError               1  the role in Snowflake lacks a privilege
    ├── SecretNotFoundError          1  there is no such secret
    ├── SinkTakenError               1  the sink is no longer this run's
    │   ├── ChannelTakenError        1  another writer has opened its channel in Snowflake
    │   └── WarehouseReplacedError   1  the open file is no longer the one at its path
    ├── SettingsError                2  wrong usage or settings; the message names every fault at once
    └── UnreachableError             3  a dependency is unreachable
        ├── KafkaUnavailableError    3  there are no jars, or no Java, for an embedded Kafka
        └── RejectsNotWrittenError   3  the rejects bucket did not accept an object

Errors that stay inside the program, and become something else before the user sees them:

    ApiError                         a request to the run or its page, refused with an HTTP status
    ChannelBusyError                 a channel in Snowflake that cannot be opened for the moment
    ChannelInvalidError              a channel in Snowflake that has to be opened again
    DeadlineError                    a call that did not end in time
    RejectError                      data that makes no row: it becomes a reject with its code
    ├── DatapointError               one datapoint, with a `Row.` code
    └── MessageError                 a whole message, with a `Decode.` code
    RequestRefusedError              a request to the receiver, refused with an HTTP status
    RunNotFoundError                 no run answers, or it has another warehouse
    SourceInterruptedError           a source cannot continue; the next one resumes from the sink's offsets
    ├── BrokerFailedError            its broker is unreachable, or refused a request
    ├── CertificatesChangedError     the files of its client's certificate were replaced
    ├── PartitionsLostError          the group gave its partitions to others, without its knowledge
    ├── SinkRewoundError             the sink has lost what it had taken and not committed
    ├── StalledError                 a partition has messages, and gives none
    ├── TopicGoneError               its topic was deleted
    └── TopicReplacedError           its topic was recreated
    UnreadableObjectError            an object with failed records that cannot be read

The message of an LmdpError says what failed, what became of the data, and the next command.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

if TYPE_CHECKING:
    from pathlib import Path  # pure: a type, never made here

_Error = TypeVar("_Error", bound=Exception)

MALFORMED: Final = "Decode.Malformed"
NOT_METRICS: Final = "Decode.NotMetrics"
DECODE_TOO_LARGE: Final = "Decode.TooLarge"
MISSING_FIELD: Final = "Row.MissingField"
BAD_TIMESTAMP: Final = "Row.BadTimestamp"
BAD_HISTOGRAM: Final = "Row.BadHistogram"
ROW_TOO_LARGE: Final = "Row.TooLarge"

REJECT_CODES: Final = (
    MALFORMED, NOT_METRICS, DECODE_TOO_LARGE, MISSING_FIELD, BAD_TIMESTAMP, BAD_HISTOGRAM, ROW_TOO_LARGE,
)  # fmt: skip
"""Every reject code of the core. All are permanent: the same bytes fail until a setting or the sender changes."""

DROP_REASONS: Final = ("empty", "exemplars", "noRecordedValue", "nonFinite", "unknownData")
"""Every reason for which something makes no row by rule."""

TOO_DEEP: Final = "nested too deep"
"""The reason for what is nested beyond a limit: one text, whoever notices."""


class LmdpError(Exception):
    """An error for the user to read."""

    exit_code: ClassVar[int] = 1


class AlreadyReplayedError(LmdpError):
    """A replay's source has changed: it was replayed before, or its rejects are others now."""


class ChecksumError(LmdpError):
    """A jar is not the pinned one. There is no fallback from this."""


@dataclass(slots=True)
class Delivery:
    """Counts of a delivery of `rows` rows to Firehose or Snowflake: accepted + refused = rows.

    `calls` were made, `throttled` of them throttled; `retried` counts rows sent again, `repeats` rows that are
    probably stored twice; `seconds` is the time that it took.
    """

    rows: int
    accepted: int = 0
    calls: int = 0
    throttled: int = 0
    retried: int = 0
    repeats: int = 0
    seconds: float = 0.0

    @property
    def refused(self) -> int:
        """Return the rows that were not accepted."""
        return self.rows - self.accepted


class DeliveryError(LmdpError):
    """Firehose or Snowflake refused rows: until the time was over (`retryable`), or for a reason that no retry removes.

    `delivered` has the sink's counts of the batch.
    """

    def __init__(self, text: str, code: str, delivered: Delivery, *, retryable: bool) -> None:
        super().__init__(text)
        self.code = code
        self.delivered = delivered
        self.retryable = retryable


class DiskFullError(LmdpError):
    """A write found no space in `folder`; it wanted about `wanted` bytes. `place` is the text's constant part."""

    def __init__(self, text: str, folder: Path, wanted: int, place: str) -> None:
        super().__init__(text)
        self.folder = folder
        self.wanted = wanted
        self.place = place


class InternalError(LmdpError):
    """A fault of the program; the log has its kind and place, without any value."""


class ObjectNotFoundError(LmdpError):
    """Something does not exist in Snowflake, or the role cannot see it: Snowflake does not distinguish the two."""


class PrivilegeError(LmdpError):
    """The role in Snowflake may not do something; an administrator has to grant it."""


class SecretNotFoundError(LmdpError):
    """There is no secret of that name."""


class SinkTakenError(LmdpError):
    """The sink is no longer this run's. No retry can help."""


class ChannelTakenError(SinkTakenError):
    """Another writer has opened a channel in Snowflake that this one wrote to."""


class WarehouseReplacedError(SinkTakenError):
    """The file at the path is no longer the one that is open."""


class SettingsError(LmdpError):
    """Wrong usage, or settings that contradict each other."""

    exit_code: ClassVar[int] = 2

    @classmethod
    def of(cls, faults: list[str]) -> SettingsError:
        """Return one error that names every fault in `faults` (at least one)."""
        if len(faults) == 1:
            return cls(faults[0])
        return cls(f"{len(faults)} settings are wrong:\n" + "\n".join(f"  - {fault}" for fault in faults))


class UnreachableError(LmdpError):
    """A dependency of this command is unreachable: a broker, a file in use, an endpoint."""

    exit_code: ClassVar[int] = 3


class KafkaUnavailableError(UnreachableError):
    """Kafka's jars, or a Java for them, cannot be had on this machine."""


class RejectsNotWrittenError(UnreachableError):
    """The rejects bucket did not accept an object."""


class ApiError(Exception):
    """A request that cannot be answered: the HTTP status, what failed, and the next command."""

    _EXIT_CODES: ClassVar = {409: 1, 422: 1, 500: 1, 503: 3}

    def __init__(self, status: int, error: str, next_step: str) -> None:
        super().__init__(error)
        self.status = status
        self.next = next_step

    def json(self) -> dict[str, Any]:
        """Return the body of the answer; `exitCode` is that of a command which fails by it."""
        return {"error": str(self), "exitCode": self._EXIT_CODES.get(self.status, 2), "next": self.next}


class ChannelBusyError(Exception):
    """A channel in Snowflake that has rows which are not committed yet, or that somebody else is opening."""


class ChannelInvalidError(Exception):
    """A channel in Snowflake that takes no rows until it is opened again.

    `is_in_doubt`: the request that was refused may have been carried out before, which explains the refusal.
    """

    def __init__(self, text: str, *, is_in_doubt: bool = False) -> None:
        super().__init__(text)
        self.is_in_doubt = is_in_doubt


class DeadlineError(TimeoutError):
    """A call did not end in time. Nothing waits for its result any longer."""


class RejectError(Exception):
    """Data that makes no row, for a permanent reason."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class DatapointError(RejectError):
    """A datapoint that makes no row; the code is one of `Row.`."""


class MessageError(RejectError):
    """A message that makes no rows; the code is one of `Decode.`."""


class RequestRefusedError(Exception):
    """A request that the receiver refuses: the HTTP status, why, and further headers of the answer."""

    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class RunNotFoundError(Exception):
    """No run answers for this home, or it has another warehouse."""


class SourceInterruptedError(Exception):
    """A source that cannot continue; the text says why."""


class BrokerFailedError(SourceInterruptedError):
    """The broker is unreachable, or refused a request."""


class CertificatesChangedError(SourceInterruptedError):
    """The files of the client's certificate were replaced: a new client has to read them."""


class PartitionsLostError(SourceInterruptedError):
    """The consumer group has given the partitions to other processes: this one was silent for too long."""


class SinkRewoundError(SourceInterruptedError):
    """The sink lost what it had taken and not committed: it is read again from the offsets that the sink has."""


class StalledError(SourceInterruptedError):
    """A partition has messages, and has given none for long."""


class TopicGoneError(SourceInterruptedError):
    """The topic was deleted. What was read of it cannot be read again."""


class TopicReplacedError(SourceInterruptedError):
    """The topic was recreated: what was read last may be of the new one."""


class UnreadableObjectError(Exception):
    """An object that cannot be read; the text says why. It stays as it is."""


def frames(error: BaseException) -> list[str]:
    """Return where an error was raised, the outermost call first, without its text or any value."""
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]


@contextlib.contextmanager
def translating(errors: Mapping[type[_Error], Callable[[_Error], Exception]]) -> Iterator[None]:
    """Raise a vendor's errors as ours: `errors` maps a class to a function that makes ours of one of its errors.

    The most special class that fits decides, whatever the order of the map. Other errors pass.
    """
    try:
        yield
    except tuple(errors) as error:
        translate = next(errors[kind] for kind in type(error).__mro__ if kind in errors)
        raise translate(error) from error
