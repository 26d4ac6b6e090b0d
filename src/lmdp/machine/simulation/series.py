"""Values of simulated series and the story of the demo, as functions of the time alone: a restart changes neither.

Each hour (UTC) a device restarts, another one is silent, a volume fills up, and a deployment slows an interface.
"""

from __future__ import annotations

from math import cos, pi, sin
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from lmdp.machine.simulation.devices import Datapoint

HOUR_S: Final = 3_600
_LEAST_RATE: Final = 0.4  # of a DataSource's rate; the busiest instance has 1.2 of it

# A day, twenty minutes, two minutes: angle a second, and share.
_DAY, _MINUTES, _MINUTE = 2 * pi / 86_400, 2 * pi / 1_260, 2 * pi / 140
_OF_DAY, _OF_MINUTES, _OF_MINUTE = 0.5, 0.3, 0.2
_OF_NOISE = 0.06


class Event(NamedTuple):
    """A part of each hour, in seconds, in which something happens to a device, which is given by its number."""

    device: int
    begin: int
    end: int

    def covers(self, device: int, at_s: float) -> bool:
        """Return whether it happens to a device at this time."""
        return device == self.device and self.begin <= at_s % HOUR_S < self.end

    def seconds_until(self, at_s: float) -> float:
        """Return for how long it has happened in all hours until then."""
        hours, rest = divmod(at_s, HOUR_S)
        return hours * (self.end - self.begin) + min(max(rest - self.begin, 0), self.end - self.begin)


FILLS: Final = Event(0, 0, 55 * 60)  # /var of linux-00000; emptied at the full hour
RESTARTS: Final = Event(4, 15 * 60, 15 * 60)  # esxi-00004
SILENT: Final = Event(14, 20 * 60, 45 * 60)  # switch-00014
SLOWED: Final = Event(2, 35 * 60, 50 * 60)  # the first interface of switch-00002
SLOWED_TO: Final = 0.2


def gauge(point: Datapoint, phase: float, at_s: float) -> float:
    """Return a gauge's value at a time in Unix seconds; `phase` (0 to 2π) is the series' own."""
    if point.low == point.high:
        return point.low
    swing = (
        _OF_DAY * sin(_DAY * at_s + phase)
        + _OF_MINUTES * sin(_MINUTES * at_s + 3 * phase)
        + _OF_MINUTE * sin(_MINUTE * at_s + 5 * phase)
    )
    noise = 2 * (sin(78.233 * at_s + phase) * 43_758.5453 % 1) - 1
    share = 0.5 + 0.5 * ((1 - _OF_NOISE) * swing + _OF_NOISE * noise)
    return round(point.low + (point.high - point.low) * share, point.digits)


def filling(point: Datapoint, at_s: float) -> float:
    """Return the value of a gauge that fills from a third to its highest value in each hour."""
    share = 0.3 + 0.7 * min(1.0, at_s % HOUR_S / FILLS.end)
    return round(point.low + (point.high - point.low) * share, point.digits)


def counter(point: Datapoint, phase: float, active_s: float) -> int:
    """Return a counter's value after so many seconds of activity: it only grows, and wraps at its width."""
    grown, rate = active_s, point.rate
    if point.jitter:
        grown += point.jitter * (_integral(active_s, phase) - _integral(0.0, phase))
        rate *= _LEAST_RATE + 0.8 * phase / (2 * pi)
    return int(rate * grown) % (1 << point.bits)


def _integral(at_s: float, phase: float) -> float:
    """Return the integral of a swing between -1 and 1."""
    return -(
        _OF_DAY / _DAY * cos(_DAY * at_s + phase)
        + _OF_MINUTES / _MINUTES * cos(_MINUTES * at_s + 3 * phase)
        + _OF_MINUTE / _MINUTE * cos(_MINUTE * at_s + 5 * phase)
    )
