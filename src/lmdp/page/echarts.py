"""Options of the charts, for ECharts: https://echarts.apache.org/en/option.html."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

Options = dict[str, Any]
FONT = 'Roboto, system-ui, -apple-system, "Segoe UI", sans-serif'


@dataclass(frozen=True, slots=True)
class Colours:
    """Colours of a theme. The lines also differ without red and green."""

    text: str
    faint: str
    grid: str
    surface: str
    accent: str
    lines: tuple[str, ...]


LIGHT = Colours(
    text="#1d2733",
    faint="#566476",
    grid="#e3e8ee",
    surface="#ffffff",
    accent="#1f5fbf",
    lines=("#1f5fbf", "#c8500a", "#0b7d5f", "#a3498a", "#8a6d00", "#2a8fc7", "#5b5fc7", "#6b7280"),
)
DARK = Colours(
    text="#e6ebf1",
    faint="#9aa8b8",
    grid="#2b3644",
    surface="#18212c",
    accent="#6ea8ff",
    lines=("#6ea8ff", "#f0924d", "#3fc79a", "#df8cc4", "#e0c050", "#7cc8f2", "#a9acf5", "#aab4c0"),
)


def spark(points: list[list[float | None]], colours: Colours) -> Options:
    """Return a small line without axes. A point is [Unix ms, value]."""
    return {
        "animation": False,
        "grid": {"left": 1, "right": 1, "top": 4, "bottom": 2},
        "xAxis": {"type": "time", "show": False, "min": "dataMin", "max": "dataMax"},
        "yAxis": {"type": "value", "show": False, "min": 0},
        "series": [
            {
                "type": "line",
                "data": points,
                "showSymbol": False,
                "silent": True,
                "lineStyle": {"width": 1.5, "color": colours.accent},
                "areaStyle": {"color": colours.accent, "opacity": 0.12},
            }
        ],
    }


# The pointer selects a stretch of time by dragging, and nothing else: the wheel scrolls the page.
DRAG: Options = {
    "type": "takeGlobalCursor",
    "key": "brush",
    "brushOption": {"brushType": "lineX", "brushMode": "single"},
}
_NUMBER = "value => value == null ? '\u2013' : new Intl.NumberFormat('en', {maximumSignificantDigits: 6}).format(value)"


def lines(
    named: list[tuple[str, list[list[Any]]]],
    colours: Colours,
    *,
    axis: str = "time",
    span: tuple[int, int] | None = None,
    utc: bool = True,
    unit: str = "",
) -> Options:
    """Return lines over time, or bars over names (axis "category"), with a legend and a tooltip of all lines.

    With `span`, from and to in Unix ms, the axis shows that and the pointer can select a part of it.
    """
    return {
        "animation": False,
        "color": list(colours.lines),
        "textStyle": {"fontFamily": FONT},
        "aria": {"enabled": True},
        "grid": {"left": 8, "right": 18, "top": 12, "bottom": 44, "containLabel": True},
        "legend": {
            "type": "scroll",
            "bottom": 0,
            "icon": "circle",
            "itemHeight": 10,
            "itemWidth": 10,
            "itemGap": 16,
            "textStyle": {"color": colours.text},
            "pageTextStyle": {"color": colours.faint},
            "pageIconColor": colours.text,
        },
        "tooltip": {
            "trigger": "axis",
            "order": "valueDesc",
            "confine": True,
            "axisPointer": {"type": "line", "lineStyle": {"color": colours.faint}},
            "backgroundColor": colours.surface,
            "borderColor": colours.grid,
            "textStyle": {"color": colours.text},
            ":valueFormatter": _NUMBER + (f" + {json.dumps(f' {unit}')}" if unit else ""),
        },
        "xAxis": {
            "type": axis,
            "axisLine": {"lineStyle": {"color": colours.grid}},
            "axisTick": {"show": False},
            "axisLabel": {"color": colours.faint, "hideOverlap": True},
            "splitLine": {"show": False},
            **({"min": span[0], "max": span[1]} if span else {}),
        },
        "yAxis": {
            "type": "value",
            "scale": axis != "category",
            "axisLabel": {"color": colours.faint},
            "splitLine": {"lineStyle": {"color": colours.grid}},
        },
        **({"brush": _brush(colours), "toolbox": {"show": False}} if span else {}),
        "useUTC": utc,
        "series": [_bars(name, points) if axis == "category" else _line(name, points) for name, points in named],
    }


def _brush(colours: Colours) -> Options:
    style = {"color": colours.accent, "opacity": 0.15, "borderWidth": 0}
    return {"xAxisIndex": 0, "toolbox": [], "transformable": False, "brushStyle": style, "throttleType": "debounce"}


def _line(name: str, points: list[list[Any]]) -> Options:
    return {
        "type": "line",
        "name": name,
        "data": points,
        "showSymbol": len(points) < 40,
        "symbolSize": 5,
        "lineStyle": {"width": 1.8},
        "emphasis": {"focus": "series"},
        # The first two values of a point are drawn; the others are for the tooltip.
        "encode": {"x": 0, "y": 1},
    }


def _bars(name: str, points: list[list[Any]]) -> Options:
    return {"type": "bar", "name": name, "data": points, "barMaxWidth": 36, "emphasis": {"focus": "series"}}
