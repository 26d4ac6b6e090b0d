"""Draw the report's pages from simulated metrics, for the documentation.

    python tools/draw_powerbi_pictures.py

No Power BI is at hand on one machine. So each visual's numbers are asked of a local warehouse, over the same views,
with the measure's DAX put into SQL by hand, and drawn where the report has it. The same code draws the same pictures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import duckdb

from lmdp.core.pipeline import Message, TransformSettings, transform
from lmdp.core.specification import load_spec
from lmdp.machine.simulation.collectors import Odds, Simulation
from lmdp.machine.sink import Load
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.powerbi.project import Source, files

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"
START = datetime(2026, 1, 5, tzinfo=UTC)
DAYS, STEP, LAG_MINUTES = 21, timedelta(minutes=30), 60
NOW = START + timedelta(days=DAYS)
# Which devices, by their order, fall silent, and from when to when: so that the health page has something to show.
SILENT = {2: (NOW - timedelta(days=3, hours=5), NOW - timedelta(days=3)), 4: (NOW - timedelta(hours=7), NOW)}

CHOSEN: dict[str, dict[str, str]] = {
    "fleet-overview": {},
    "device": {"Device": "esxi-00004.demo.example", "DataSource": "VMware_ESXi_HostCPU"},
    "datasource-explorer": {"DataSource": "Ping", "Metric": "average"},
    "capacity-trend": {"DataSource": "Volume Usage-", "Metric": "hrStorageUsed"},
    "pipeline-health": {},
}
COLOURS = ("#1f5fa8", "#d9822b", "#3b8f5a", "#8a4fa3", "#b23b4b", "#4b8f9f", "#8c7a3d", "#6b6b6b")
DIMENSIONS = ("Device", "DataSource", "Metric", "Instance", "Date")
ROW = 22


class Shown(NamedTuple):
    """A field of the semantic model: a measure, or a column to group by."""

    table: str
    name: str
    is_measure: bool


class Table(NamedTuple):
    """A table of the semantic model: its view, its columns' sources, and its measures' format strings."""

    view: str
    sources: Mapping[str, str]
    formats: Mapping[str, str]


@dataclass(frozen=True)
class Sql:
    """A measure in SQL over a view; with `grain`, over `inner` (as `a`) at that grain."""

    view: str
    expression: str
    grain: str | None = None
    inner: str = ""


_NEWEST = f"date_diff('millisecond', {{}}(NEWEST_TS), TIMESTAMP '{NOW:%Y-%m-%d %H:%M:%S}') / 60000"
_DAILY = "struct_pack(mean := sum(VALUE_SUM) / sum(SAMPLES), last := avg(VALUE_LAST))"
_END = "max_by(a.last, DAY_TS)"
_CHANGE = "(max_by(a.mean, DAY_TS) - min_by(a.mean, DAY_TS)) / nullif(date_diff('day', min(DAY_TS), max(DAY_TS)), 0)"
_MEAN = "sum(VALUE_SUM) / sum(SAMPLES)"
_EACH = "f.DEVICE_KEY"
_HOURS = "SELECT date_diff('hour', min(HOUR_TS), max(HOUR_TS)) + 1 FROM PIPELINE_HEALTH WHERE HOUR_TS >= ?"
_SILENT = f"count(*) FILTER (WHERE a > {2 * LAG_MINUTES})"
_REAL = "FILTER (WHERE NOT IS_CANARY)"

MEASURES = {
    "Devices": Sql("DIM_DEVICE", "count(*)"),
    "Series count": Sql("METRIC_LATEST", "count(*)"),
    "Last value": Sql("METRIC_LATEST", "avg(VALUE)"),
    "Newest point": Sql("METRIC_LATEST", "max(TS)"),
    "Point count": Sql("METRIC_HOURLY", "sum(SAMPLES)"),
    "Average value": Sql("METRIC_HOURLY", _MEAN),
    "Minimum value": Sql("METRIC_HOURLY", "min(VALUE_MIN)"),
    "Maximum value": Sql("METRIC_HOURLY", "max(VALUE_MAX)"),
    "Median value": Sql("METRIC_HOURLY", "quantile_cont(a, 0.5)", "HOUR_TS", _MEAN),
    "95th percentile": Sql("METRIC_HOURLY", "quantile_cont(a, 0.95)", "HOUR_TS", _MEAN),
    "Daily average": Sql("METRIC_DAILY", _MEAN),
    "Daily maximum": Sql("METRIC_DAILY", "max(VALUE_MAX)"),
    "Value at the end": Sql("METRIC_DAILY", _END, "DAY_TS", _DAILY),
    "Change per day": Sql("METRIC_DAILY", _CHANGE, "DAY_TS", _DAILY),
    "Value in 30 days": Sql("METRIC_DAILY", f"{_END} + 30 * {_CHANGE}", "DAY_TS", _DAILY),
    "Rate": Sql("METRIC_RATES_HOURLY", "sum(GROWTH) / sum(SECONDS)"),
    "Counter resets": Sql("METRIC_RATES_HOURLY", "sum(RESETS)"),
    "Rows received": Sql("PIPELINE_HEALTH", f"sum(ROW_COUNT) {_REAL}"),
    "Repeated rows": Sql("PIPELINE_HEALTH", f"sum(REPEATS) {_REAL}"),
    "Repeat share": Sql("PIPELINE_HEALTH", f"sum(REPEATS) {_REAL} / sum(ROW_COUNT) {_REAL}"),
    "Canary rows": Sql("PIPELINE_HEALTH", "sum(ROW_COUNT) FILTER (WHERE IS_CANARY)"),
    "Longest gap (min)": Sql("PIPELINE_HEALTH", f"max(GAP_SECONDS) {_REAL} / 60"),
    "Freshness (min)": Sql("PIPELINE_HEALTH", _NEWEST.format("max")),
    "Stalest device (min)": Sql("PIPELINE_HEALTH", _NEWEST.format("min")),
    "Silent devices": Sql("PIPELINE_HEALTH", _SILENT, _EACH, _NEWEST.format("max")),
    "Availability": Sql("PIPELINE_HEALTH", f"sum(a) / count(*) / ({_HOURS})", _EACH, "count(*)"),
}  # fmt: skip
_HOURLY = ("METRIC_HOURLY", "METRIC_RATES_HOURLY", "PIPELINE_HEALTH")
TIMES = {**dict.fromkeys(_HOURLY, "HOUR_TS"), "METRIC_DAILY": "DAY_TS"}


@dataclass(frozen=True)
class Asker:
    """The views, materialized; the model's tables; what is chosen on the page, and its first moment."""

    connection: duckdb.DuckDBPyConnection
    tables: Mapping[str, Table]
    chosen: Mapping[str, str]
    since: datetime

    def rows(self, groups: Sequence[Shown], measures: Sequence[Shown]) -> list[tuple[Any, ...]]:
        """One row for each combination of the groups that any measure has a number for; missing numbers are None."""
        answers = [self._answer(groups, measure.name) for measure in measures]
        keys = sorted({key for answer in answers for key in answer}, key=lambda key: [str(part) for part in key])
        return [(*key, *(answer.get(key) for answer in answers)) for key in keys]

    def _answer(self, groups: Sequence[Shown], name: str) -> dict[tuple[Any, ...], Any]:
        if not name.endswith(" week over week"):
            return self._ask(groups, MEASURES[name], self.since, NOW)
        measure, week = MEASURES[name.removesuffix(" week over week")], timedelta(days=7)
        now = self._ask(groups, measure, self.since, NOW)
        before = self._ask(groups, measure, self.since - week, NOW - week)
        return {key: (now[key] - before[key]) / abs(before[key]) for key in now if before.get(key)}

    def _ask(self, groups: Sequence[Shown], sql: Sql, since: datetime, until: datetime) -> dict[tuple[Any, ...], Any]:
        there = {column for column, *_ in self.connection.execute(f"DESCRIBE {sql.view}").fetchall()}
        joins, terms, wheres = [], [], []
        values: list[Any] = []
        for name in DIMENSIONS:
            table = self.tables[name]
            key = f"{name.upper()}_KEY"
            if key in there and table.view != sql.view:
                joins.append(f"JOIN {table.view} AS {name} ON {name}.{key} = f.{key}")
                for column in self.chosen.keys() & table.sources.keys() & {name, "Type"}:
                    wheres.append(f"{name}.{table.sources[column]} = ?")
                    values.append(self.chosen[column])
        for shown in groups:
            alias = shown.table if shown.table in DIMENSIONS else "f"
            terms.append(f"{alias}.{self.tables[shown.table].sources[shown.name]}")
        if sql.view in TIMES:
            wheres.append(f"f.{TIMES[sql.view]} >= ? AND f.{TIMES[sql.view]} < ?")
            values += [since.replace(tzinfo=None), until.replace(tzinfo=None)]
        found = self.connection.execute(
            _select(sql, joins, terms, wheres), [since.replace(tzinfo=None)] * sql.expression.count("?") + values
        )
        return {tuple(row[:-1]): row[-1] for row in found.fetchall() if row[-1] is not None}


def _select(sql: Sql, joins: Iterable[str], terms: Sequence[str], wheres: Sequence[str]) -> str:
    named = [f"{term} AS g{n}" for n, term in enumerate(terms)]
    groups = [f"g{n}" for n in range(len(terms))]
    source = f"FROM {sql.view} AS f {' '.join(joins)}{' WHERE ' + ' AND '.join(wheres) if wheres else ''}"
    if sql.grain is None:
        return f"SELECT {', '.join([*named, sql.expression])} {source} GROUP BY ALL"
    inner = f"SELECT {', '.join([*named, sql.grain, sql.inner])} AS a {source} GROUP BY ALL"
    by = f"GROUP BY {', '.join(groups)}" if groups else ""
    return f"SELECT {', '.join([*groups, sql.expression])} FROM ({inner}) {by}"  # noqa: S608 - our own words


def pages(project: Mapping[str, str]) -> Iterator[tuple[Any, list[Any]]]:
    """Yield each page of the report with its visuals, as objects with the attributes of the JSON."""
    for path, text in project.items():
        if path.endswith("/page.json"):
            below = f"{Path(path).parent}/visuals/"
            visuals = [_object(part) for name, part in project.items() if name.startswith(below)]
            yield _object(text), sorted(visuals, key=lambda part: int(part.position.z))


def _object(text: str) -> Any:
    return json.loads(text, object_hook=lambda members: SimpleNamespace(**members))


def model(project: Mapping[str, str]) -> dict[str, Table]:
    """Return the tables of the semantic model, by name."""
    return {
        Path(path).stem: Table(
            re.findall(r'\[Name = "(\w+)", Kind = ', text)[0],
            _properties(text, "column", "sourceColumn"),
            _properties(text, "measure", "formatString"),
        )
        for path, text in project.items()
        if "/tables/" in path
    }


def _properties(text: str, kind: str, name: str) -> dict[str, str]:
    """Return one property of each column or measure of a table in TMDL."""
    found = re.findall(rf"^\t{kind} ([^=\n]+?)(?: =.*)?\n(?:\t\t.*\n)*?\t\t{name}: (.+)$", text, re.MULTILINE)
    return {title.strip("'"): value for title, value in found}


def _field(part: Any) -> Shown:
    ((kind, field),) = vars(part.field).items()
    return Shown(field.Expression.SourceRef.Entity, field.Property, kind == "Measure")


def _literal(part: Any) -> str:
    return str(part.Literal.Value)[1:-1].replace("''", "'")


def simulate(path: Path) -> Warehouse:
    """Three weeks of six devices; two of them fall silent for a while, and a few messages come twice or late."""
    spec = load_spec()
    simulation = Simulation(6, 8, seed=11, odds=Odds(repeat=0.004))
    warehouse = Warehouse.open(path, spec)
    devices: list[bytes] = []
    for step in range(int(timedelta(days=DAYS) / STEP)):
        at = START + step * STEP
        messages = []
        for polled in simulation.polls(int(at.timestamp() * 1000)):
            if polled.key not in devices:
                devices.append(polled.key)
            begins, ends = SILENT.get(devices.index(polled.key), (NOW, NOW))
            if not begins <= at < ends:
                messages.append(Message(polled.value))
        warehouse.commit(Load(transform(messages, TransformSettings(org_id="acme")).rows, [], [], at))
    return warehouse


@contextlib.contextmanager
def materialized(warehouse: Warehouse, tables: Mapping[str, Table]) -> Iterator[duckdb.DuckDBPyConnection]:
    """The views as tables in memory, as Snowflake's dynamic tables are."""
    with warehouse._reader.cursor() as cursor:  # noqa: SLF001 - a tool of this project, for what no user asks
        for view in {table.view for table in tables.values()} - {"FACT_METRIC"}:
            cursor.execute(f"CREATE TABLE memory.main.{view} AS FROM LM_METRICS.PIPELINE.{view}")
        cursor.execute("USE memory.main")
        yield cursor


def draw(title: str, visuals: Sequence[Any], asker: Asker) -> str:
    """Return a page as SVG."""
    parts = [element for visual in visuals for element in _visual(visual, asker)]
    style = "text{font-family:'Segoe UI',Helvetica,Arial,sans-serif}"
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1280 720" role="img">'
        f"<title>{escape(title)}</title><style>{style}</style>"
        f'<rect width="1280" height="720" fill="#f3f2f1"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _visual(part: Any, asker: Asker) -> Iterator[str]:
    visual, place, kind = part.visual, part.position, part.visual.visualType
    roles = {role: [_field(one) for one in it.projections] for role, it in vars(visual.query.queryState).items()}
    yield f'<rect x="{place.x}" y="{place.y}" width="{place.width}" height="{place.height}" rx="4" fill="#fff"/>'
    if kind == "slicer":
        name = roles["Values"][0].name
        yield _text(place.x + 12, place.y + 22, name, 12, "#605e5c")
        yield _text(place.x + 12, place.y + 46, f"{asker.chosen.get(name, 'All')}  ▾", 15)
        return
    if kind == "card":
        (field,) = roles["Values"]
        ((value,),) = asker.rows((), (field,)) or [(None,)]
        yield _text(place.x + place.width / 2, place.y + 52, _shown(asker.tables, field, value), 28, anchor="middle")
        yield _text(place.x + place.width / 2, place.y + 80, field.name, 12, "#605e5c", "middle")
        return
    yield _text(place.x + 12, place.y + 22, _literal(visual.visualContainerObjects.title[0].properties.text.expr), 14)
    for kept in part.filterConfig.filters if hasattr(part, "filterConfig") else ():
        value = _literal(kept.filter.Where[0].Condition.In.Values[0][0])
        asker = replace(asker, chosen={**asker.chosen, _field(kept).name: value})
    sort = visual.query.sortDefinition.sort if hasattr(visual.query, "sortDefinition") else ()
    drawn = {"lineChart": _line, "clusteredBarChart": _bars, "tableEx": _table}[kind]
    yield from drawn(place, roles, [_field(one) for one in sort], asker)


def _line(place: Any, roles: Mapping[str, Sequence[Shown]], _: Sequence[Shown], asker: Asker) -> Iterator[str]:
    over, by = roles["Category"], roles.get("Series", ())
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in asker.rows((*over, *by), roles["Y"]):
        at = datetime.combine(row[0], datetime.min.time()) if not isinstance(row[0], datetime) else row[0]
        for measure, value in zip(roles["Y"], row[1 + len(by) :], strict=True):
            if value is not None:
                lines.setdefault(str(row[1]) if by else measure.name, []).append((at.timestamp(), float(value)))
    if not lines:
        return
    chosen = dict(sorted(lines.items(), key=lambda line: -max(value for _, value in line[1]))[: len(COLOURS)])
    times, values = zip(*(point for line in chosen.values() for point in line), strict=True)
    box = SimpleNamespace(x=place.x + 64, y=place.y + 36, width=place.width - 250, height=place.height - 66)
    top, low = max(values) or 1.0, min(0.0, *values)
    for share in (0.0, 0.5, 1.0):
        y = box.y + box.height * (1 - share)
        yield f'<line x1="{box.x}" x2="{box.x + box.width}" y1="{y:.0f}" y2="{y:.0f}" stroke="#e1dfdd"/>'
        yield _text(box.x - 6, y + 4, _short(low + share * (top - low)), 11, "#605e5c", "end")
        when = min(times) + share * (max(times) - min(times))
        label = datetime.fromtimestamp(when, UTC).strftime("%d %b")
        yield _text(box.x + share * box.width, box.y + box.height + 18, label, 11, "#605e5c", "middle")
    scale_x, scale_y = box.width / ((max(times) - min(times)) or 1), box.height / ((top - low) or 1)
    for n, (name, points) in enumerate(chosen.items()):
        path = " ".join(
            f"{box.x + (t - min(times)) * scale_x:.0f},{box.y + box.height - (v - low) * scale_y:.0f}"
            for t, v in sorted(points)
        )
        yield f'<polyline points="{path}" fill="none" stroke="{COLOURS[n]}" stroke-width="1.5"/>'
        y = box.y + 8 + n * 18
        yield f'<rect x="{box.x + box.width + 14}" y="{y - 8}" width="10" height="10" fill="{COLOURS[n]}"/>'
        yield _text(box.x + box.width + 30, y + 2, name[:26], 11)


def _bars(place: Any, roles: Mapping[str, Sequence[Shown]], _: Sequence[Shown], asker: Asker) -> Iterator[str]:
    rows = sorted(asker.rows(roles["Category"], roles["Y"]), key=lambda row: -float(row[1]))
    fitting = rows[: (place.height - 44) // 28]
    for n, (name, value) in enumerate(fitting):
        y, width = place.y + 42 + n * 28, float(value) / float(fitting[0][1]) * (place.width - 270)
        yield _text(place.x + 150, y + 13, str(name)[:26], 10, anchor="end")
        yield f'<rect x="{place.x + 158}" y="{y}" width="{max(width, 1):.0f}" height="18" fill="{COLOURS[0]}"/>'
        yield _text(place.x + 164 + width, y + 13, _shown(asker.tables, roles["Y"][0], value), 11)


def _table(place: Any, roles: Mapping[str, Sequence[Shown]], sort: Sequence[Shown], asker: Asker) -> Iterator[str]:
    fields = roles["Values"]
    groups, numbers = [f for f in fields if not f.is_measure], [f for f in fields if f.is_measure]
    rows = asker.rows(groups, numbers)
    for top in sort:
        at = [*groups, *numbers].index(top)
        rows.sort(key=lambda row: -float(row[at]) if row[at] is not None else float("inf"))
    order = [[*groups, *numbers].index(field) for field in fields]
    step = (place.width - 24) / len(fields)
    for n, (field, at) in enumerate(zip(fields, order, strict=True)):
        right = field.is_measure
        x = place.x + 12 + (n + (0.92 if right else 0)) * step
        anchor = "end" if right else "start"
        yield _text(x, place.y + 48, field.name, 10, "#605e5c", anchor)
        for line, row in enumerate(rows[: (place.height - 62) // ROW]):
            yield _text(
                x,
                place.y + 48 + (line + 1) * ROW,
                _shown(asker.tables, field, row[at])[: int(step / 6.4)],
                11,
                anchor=anchor,
            )
    yield f'<rect x="{place.x + 12}" y="{place.y + 55}" width="{place.width - 24}" height="1" fill="#c8c6c4"/>'


def _shown(tables: Mapping[str, Table], field: Shown, value: Any) -> str:
    """A value by its format string."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    pattern = tables[field.table].formats.get(field.name, "#,0")
    digits = len(pattern.partition(".")[2].rstrip("%"))
    return f"{value:,.{digits}%}" if pattern.endswith("%") else f"{value:,.{digits}f}"


def _short(value: float) -> str:
    for size, unit in ((1e9, "bn"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _text(x: float, y: float, text: str, size: int, colour: str = "#252423", anchor: str = "start") -> str:
    look = f'font-size="{size}" text-anchor="{anchor}" fill="{colour}"'
    return f'<text x="{x:.0f}" y="{y:.0f}" {look}>{escape(text)}</text>'


def main() -> None:
    """Draw every page into the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=FOLDER)
    folder: Path = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    project = files(Source("", "", "", "", ""), imported=False, lag_minutes=LAG_MINUTES)
    tables = model(project)
    with (
        tempfile.TemporaryDirectory() as scratch,
        simulate(Path(scratch) / "w.duckdb") as warehouse,
        materialized(warehouse, tables) as connection,
    ):
        for page, visuals in pages(project):
            recent = page.filterConfig.filters[0].filter.Where[0].Condition.Between.LowerBound.DateSpan.Expression
            since = (NOW + timedelta(days=recent.DateAdd.Amount)).replace(hour=0, minute=0)
            file = folder / f"power-bi-{page.name}.svg"
            file.write_text(
                draw(page.displayName, visuals, Asker(connection, tables, CHOSEN[page.name], since)), "utf-8"
            )
            print(f"{file}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
