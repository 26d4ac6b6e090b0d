"""The report's five pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from lmdp.powerbi.layout import Page, Place, Shown, Visual, bar, card, column, line, measure, slicer, table

_DEVICE: Final = column("Device", "Device")
_TENANT: Final = column("Device", "Tenant")
_DATASOURCE: Final = column("DataSource", "DataSource")
_METRIC: Final = column("Metric", "Metric")
_UNIT: Final = column("Metric", "Unit")
_INSTANCE: Final = column("Instance", "Instance")
_DATE: Final = column("Date", "Date")
_HOUR: Final = column("Points", "Hour")
_HEALTH_HOUR: Final = column("Health", "Health hour")
_AVERAGE: Final = measure("Points", "Average value")
_FRESHNESS: Final = measure("Health", "Freshness (min)")
_GAP: Final = measure("Health", "Longest gap (min)")
_AVAILABILITY: Final = measure("Health", "Availability")
_RECEIVED: Final = measure("Health", "Rows received")

_MARGIN = 16
_WIDTH = 1280 - 2 * _MARGIN


def pages() -> tuple[Page, ...]:
    """All of them, in the order of their tabs."""
    return (_fleet(), _device(), _explorer(), _capacity(), _pipeline())


def _fleet() -> Page:
    cards = (
        measure("Device", "Devices"),
        measure("Latest", "Series count"),
        _AVAILABILITY,
        _FRESHNESS,
        measure("Health", "Silent devices"),
    )
    visuals = (
        *_row(slicer, 16, 64, (_TENANT, _DATASOURCE, _DATE)),
        *_row(card, 96, 96, cards),
        line(Place(16, 208, 800, 240), "Points an hour", _HOUR, (measure("Points", "Point count"),), _DATASOURCE),
        bar(Place(832, 208, 432, 240), "Points by device", _DEVICE, measure("Points", "Point count")),
        table(
            Place(16, 464, 1248, 240),
            "Devices, the longest silent first",
            (_DEVICE, _TENANT, _AVAILABILITY, _FRESHNESS, _GAP, _RECEIVED),
            top=_FRESHNESS,
        ),
    )
    return Page("fleet-overview", "Fleet overview", visuals, (_DATE, 7))


def _device() -> Page:
    cards = (measure("Latest", "Newest point"), _FRESHNESS, measure("Latest", "Series count"), _AVAILABILITY)
    newest = (
        _DATASOURCE,
        _INSTANCE,
        _METRIC,
        _UNIT,
        measure("Latest", "Last value"),
        measure("Latest", "Newest point"),
    )
    visuals = (
        *_row(slicer, 16, 64, (_DEVICE, _DATASOURCE, _INSTANCE, _DATE)),
        *_row(card, 96, 96, cards),
        _gauges(Place(16, 208, 616, 240)),
        line(
            Place(648, 208, 616, 240),
            "Counters, a second",
            column("Rates", "Rate hour"),
            (measure("Rates", "Rate"),),
            _METRIC,
        ),
        table(Place(16, 464, 1248, 240), "Newest values", newest),
    )
    return Page("device", "Device", visuals, (_DATE, 7))


def _gauges(place: Place) -> Visual:
    """Gauges alone: the raw value of a counter says little, and would hide them."""
    lines = line(place, "Gauges, average by the hour: choose a DataSource", _HOUR, (_AVERAGE,), _METRIC)
    return replace(lines, kept=(column("Metric", "Type"), "gauge"))


def _explorer() -> Page:
    spread = (
        _DEVICE,
        _INSTANCE,
        _AVERAGE,
        measure("Points", "Median value"),
        measure("Points", "95th percentile"),
        measure("Points", "Maximum value"),
        measure("Points", "Average value week over week"),
    )
    visuals = (
        *_row(slicer, 16, 64, (_DATASOURCE, _METRIC, _DEVICE, _DATE)),
        line(
            Place(16, 96, 800, 288),
            "Choose one metric: average, least and greatest by the hour",
            _HOUR,
            (_AVERAGE, measure("Points", "Minimum value"), measure("Points", "Maximum value")),
        ),
        bar(Place(832, 96, 432, 288), "Average by device", _DEVICE, _AVERAGE),
        table(Place(16, 400, 1248, 304), "Spread, and change since a week before", spread, top=_AVERAGE),
    )
    return Page("datasource-explorer", "DataSource explorer", visuals, (_DATE, 7))


def _capacity() -> Page:
    ends = (
        measure("Daily", "Value at the end"),
        measure("Daily", "Change per day"),
        measure("Daily", "Value in 30 days"),
    )
    daily = (measure("Daily", "Daily average"), measure("Daily", "Daily maximum"))
    visuals = (
        *_row(slicer, 16, 64, (_DATASOURCE, _METRIC, _DEVICE, _INSTANCE)),
        *_row(card, 96, 96, ends),
        line(Place(16, 208, 1248, 240), "Choose one metric: average and maximum by the day", _DATE, daily),
        table(Place(16, 464, 1248, 240), "Where it goes", (_DEVICE, _INSTANCE, _METRIC, *daily, *ends), top=ends[1]),
    )
    return Page("capacity-trend", "Capacity trend", visuals, (_DATE, 90))


def _pipeline() -> Page:
    cards = (
        _RECEIVED,
        measure("Health", "Repeat share"),
        _GAP,
        _FRESHNESS,
        measure("Health", "Stalest device (min)"),
        measure("Health", "Canary rows"),
    )
    arrived = (
        _DEVICE,
        _RECEIVED,
        measure("Health", "Repeated rows"),
        _GAP,
        _FRESHNESS,
        measure("Rates", "Counter resets"),
    )
    visuals = (
        *_row(slicer, 16, 64, (_TENANT, _DEVICE)),
        *_row(card, 96, 96, cards),
        line(Place(16, 208, 616, 240), "Rows an hour", _HEALTH_HOUR, (_RECEIVED,)),
        line(Place(648, 208, 616, 240), "Longest gap by the hour, in minutes", _HEALTH_HOUR, (_GAP,)),
        table(Place(16, 464, 1248, 240), "By device", arrived, top=_GAP),
    )
    return Page("pipeline-health", "Pipeline health", visuals, (_HEALTH_HOUR, 7))


def _row(make: Callable[[Place, Shown], Visual], y: int, height: int, fields: tuple[Shown, ...]) -> tuple[Visual, ...]:
    """Visuals of one kind, side by side over the whole width."""
    step = (_WIDTH + _MARGIN) // len(fields)
    places = (Place(_MARGIN + n * step, y, step - _MARGIN, height) for n in range(len(fields)))
    return tuple(make(place, field) for place, field in zip(places, fields, strict=True))
