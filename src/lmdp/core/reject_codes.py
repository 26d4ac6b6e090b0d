"""Why data is refused: the codes, and the exception that carries one inside the core.

All of them are permanent: the same bytes are refused again, until a setting, a limit or the sender is fixed.
"""

from __future__ import annotations

from typing import Final

MALFORMED: Final = "Decode.Malformed"
NOT_METRICS: Final = "Decode.NotMetrics"
DECODE_TOO_LARGE: Final = "Decode.TooLarge"
MISSING_FIELD: Final = "Row.MissingField"
BAD_TIMESTAMP: Final = "Row.BadTimestamp"
BAD_HISTOGRAM: Final = "Row.BadHistogram"
ROW_TOO_LARGE: Final = "Row.TooLarge"

CODES: Final = (
    MALFORMED, NOT_METRICS, DECODE_TOO_LARGE, MISSING_FIELD, BAD_TIMESTAMP, BAD_HISTOGRAM, ROW_TOO_LARGE,
)  # fmt: skip
"""Every code that the core gives."""

DROP_REASONS: Final = ("empty", "exemplars", "noRecordedValue", "nonFinite", "unknownData")
"""Every reason for which something makes no row by rule."""

TOO_DEEP: Final = "nested too deep"
"""The reason for what is nested beyond a limit: one text, whoever notices."""


def outdated(field: str) -> str:
    """The reason for a message whose data is in `field`, which OTLP 1.0 no longer has."""
    return f"its data is in `{field}`, which only OTLP before 1.0 has: let the sender write OTLP 1.0 or later"


class Refused(Exception):  # noqa: N818 - a verdict on data, not a fault of the program
    """A message that makes no rows; the code is one of `Decode.`."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class PointRefused(Exception):  # noqa: N818 - as above
    """A datapoint that makes no rows; the code is one of `Row.`."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
