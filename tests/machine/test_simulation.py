"""The simulated Collectors: the shape of what they publish, their counters, and their mishaps."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from lmdp import Message, TransformSettings, transform
from lmdp.machine.simulation.collectors import Odds, Simulation
from lmdp.machine.simulation.devices import DEVICE_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lmdp.machine.simulation.collectors import SimulatedMessage

NOW = 1_760_000_000_000
HOUR = NOW // 3_600_000 * 3_600_000
MINUTELY = 24 * 60.0  # restarts a day
CALM = Odds(no_data=0, restart=0, repeat=0, late=0)

# One datapoint of a payload in the shape that a Collector publishes; values stand for their types.
PUBLISHED = {
    "resourceMetrics": [
        {
            "resource": {"attributes": [{"key": "hostId", "value": {"stringValue": "1017594"}}]},
            "scopeMetrics": [
                {
                    "scope": {
                        "name": "LogicMonitor_Collector_ThreadCPUUsage",
                        "attributes": [{"key": "epoch", "value": {"stringValue": "1715263558360"}}],
                    },
                    "metrics": [
                        {
                            "name": "ThreadCnt",
                            "gauge": {
                                "dataPoints": [
                                    {
                                        "startTimeUnixNano": "1715263558360000000",
                                        "timeUnixNano": "1715263558360000000",
                                        "asDouble": 8.0,
                                        "attributes": [{"key": "datapointid", "value": {"stringValue": "197644"}}],
                                    }
                                ]
                            },
                        }
                    ],
                }
            ],
        }
    ]
}
SCOPE_KEYS = ["collector", "epoch", "datasourceId", "datasourceInstanceId"]
DATAPOINT_KEYS = ["dataSourceInstanceName", "datapointid", "wildValue", "wildAlias"]


def shape(value: object) -> object:
    """Reduce JSON to its keys and types; a list's elements to the set of their shapes."""
    if isinstance(value, dict):
        return tuple((key, shape(part)) for key, part in value.items())
    if isinstance(value, list):
        return frozenset(shape(part) for part in value)
    return type(value).__name__


def bundle(message: SimulatedMessage) -> dict[str, Any]:
    """Decode a message's only resource."""
    decoded = json.loads(message.value)
    assert list(decoded) == ["resourceMetrics"]
    (resource,) = decoded["resourceMetrics"]
    return dict(resource)


def scope(message: SimulatedMessage) -> dict[str, Any]:
    """Give the message's only scope with its metrics."""
    (scoped,) = bundle(message)["scopeMetrics"]
    return dict(scoped)


def texts(attributes: list[dict[str, Any]]) -> dict[str, str]:
    """Read attributes, which must all be strings."""
    assert all(list(each["value"]) == ["stringValue"] for each in attributes)
    return {each["key"]: each["value"]["stringValue"] for each in attributes}


def datapoints(message: SimulatedMessage) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Give (metric name, gauge or sum, its data, datapoint) of each datapoint."""
    for metric in scope(message)["metrics"]:
        (form,) = set(metric) - {"name"}
        for point in metric[form]["dataPoints"]:
            yield metric["name"], form, metric[form], point


def series(simulation: Simulation, times: list[int]) -> dict[tuple[str, str], list[float]]:
    """Poll at each time; give each series' raw values in order, by datasourceInstanceId and metric."""
    values: dict[tuple[str, str], list[float]] = {}
    for now in times:
        for message in simulation.polls(now):
            instance = texts(scope(message)["scope"]["attributes"])["datasourceInstanceId"]
            for name, _, _, point in datapoints(message):
                values.setdefault((instance, name), []).append(
                    float(point["asInt"] if "asInt" in point else point["asDouble"])
                )
    return values


def widths() -> dict[str, int]:
    """Give each counter's width in bits."""
    return {p.name: p.bits for kind in DEVICE_KINDS for source in kind.datasources for p in source.datapoints if p.bits}


def test_the_shape_is_that_of_a_collectors_payload() -> None:
    """An undeclared gauge in asDouble has exactly the keys, order and types of the sample, and no more."""
    (message,) = (m for m in Simulation(1, 20, odds=CALM).polls(NOW) if b'"NetSNMPMem"' in m.value)
    assert shape(json.loads(message.value)) == shape(PUBLISHED)


def test_every_id_and_attribute_is_text_and_there_is_no_tenant_and_no_unit() -> None:
    """All attributes of all kinds of devices are strings under the names that Data Publisher uses."""
    for message in Simulation(len(DEVICE_KINDS), 40, odds=CALM).polls(NOW):
        resource, scoped = texts(bundle(message)["resource"]["attributes"]), scope(message)
        assert list(resource)[:2] == ["hostName", "hostId"]
        assert message.key == resource["hostId"].encode()
        assert not {key for key in resource if "org" in key.lower() or "tenant" in key.lower()}
        attributes = texts(scoped["scope"]["attributes"])
        assert list(attributes) == SCOPE_KEYS
        assert attributes["epoch"] == str(NOW)
        assert all("unit" not in metric for metric in scoped["metrics"])
        for _, _, _, point in datapoints(message):
            named = texts(point["attributes"])
            assert list(named) == DATAPOINT_KEYS
            assert named["dataSourceInstanceName"] == f"{scoped['scope']['name'].rstrip('-')}-{named['wildAlias']}"
            assert point["timeUnixNano"] == f"{NOW}000000"


@pytest.mark.parametrize(
    ("device", "datasource", "instance"),
    [
        (0, "Volume Usage-", "Volume Usage-/var"),
        (1, "WinVolumeUsage-", "WinVolumeUsage-C:\\"),
        (2, "SNMP_Network_Interfaces", "SNMP_Network_Interfaces-GigabitEthernet0/0/2"),  # pragma: allowlist secret
        (3, "snmpIf-", "snmpIf-ge-0/0/1"),
        (4, "VMware_ESXi_NetworkInterfaces", "VMware_ESXi_NetworkInterfaces-vmnic0"),
        (5, "LogicMonitor_Collector_ThreadCPUUsage", "LogicMonitor_Collector_ThreadCPUUsage-netscan-propsdetection"),
    ],
)
def test_each_kind_of_device_has_its_own_instances(device: int, datasource: str, instance: str) -> None:
    """Instances are named DataSource-instance, with slashes and backslashes as they are, and no doubled dash."""
    found = {
        (scope(message)["scope"]["name"], texts(point["attributes"])["dataSourceInstanceName"])
        for message in Simulation(device + 1, 30, odds=CALM).polls(NOW)
        for _, _, _, point in datapoints(message)
    }
    assert (datasource, instance) in found


@pytest.mark.parametrize(("devices", "instances"), [(0, 20), (1, 1), (3, 20), (6, 300)])
def test_one_poll_of_one_instance_is_one_message(devices: int, instances: int) -> None:
    """A round holds devices times instances messages, every instance once."""
    simulation = Simulation(devices, instances, odds=CALM)
    ids = [texts(scope(m)["scope"]["attributes"])["datasourceInstanceId"] for m in simulation.polls(NOW)]
    assert len(ids) == len(set(ids)) == len(simulation) == devices * instances


def test_the_datapoints_told_are_those_in_the_json() -> None:
    """The count of each message is right, whichever way a poll without data is encoded."""
    simulation = Simulation(12, 20, odds=Odds(no_data=0.5))
    messages = [m for now in (NOW, NOW + 60_000) for m in simulation.polls(now)]
    told = [m.datapoints for m in messages]
    assert told == [len(list(datapoints(m))) for m in messages]
    assert min(told) == 0
    assert max(told) <= 13


def test_the_same_seed_gives_the_same_bytes() -> None:
    """Two simulations of one seed agree in every byte and event; another seed differs."""
    mishaps = Odds(0.05, MINUTELY, 0.05, 0.05)

    def all_bytes(seed: int) -> tuple[list[SimulatedMessage], dict[str, int]]:
        simulation = Simulation(6, 20, seed=seed, odds=mishaps)
        return [m for n in range(3) for m in simulation.polls(NOW + n * 60_000)], dict(simulation.events)

    assert all_bytes(7) == all_bytes(7)
    assert all_bytes(7) != all_bytes(8)


def test_nothing_of_a_simulation_is_rejected() -> None:
    """Whatever the mishaps and the story, each message is one that the path can read."""
    simulation = Simulation(60, 40, seed=2, odds=Odds(0.02, MINUTELY, 0.02, 0.02), story=True)
    messages = [m for n in range(3) for m in simulation.polls(NOW + n * 60_000, 60_000)]
    done = transform([Message(m.value) for m in messages], TransformSettings(org_id="demo"))
    assert done.rejects == []
    assert done.counts.messages == len(messages)
    assert done.counts.datapoints == sum(m.datapoints for m in messages)


def test_counters_only_grow_except_where_they_wrap_at_their_width() -> None:
    """Without restarts a counter falls only from its top."""
    bits, wrapped = widths(), Counter[int]()
    for (_, name), values in series(Simulation(24, 60, odds=CALM), [NOW + n * 60_000 for n in range(10)]).items():
        if name not in bits:
            continue
        width = bits[name]
        assert all(0 <= value <= 2**width for value in values)
        for before, after in pairwise(values):
            if after < before:
                assert before > 0.3 * 2**width
                wrapped[width] += 1
    assert wrapped[32] > 0


def test_a_restart_sets_every_counter_of_the_device_back() -> None:
    """After a restart each counter holds at most what it has counted since."""
    restarts = Odds(restart=MINUTELY, no_data=0, repeat=0, late=0)
    for (_, name), (_, after) in series(Simulation(6, 20, odds=restarts), [NOW, NOW + 60_000]).items():
        if name in widths():
            assert after <= 90 * 1.5 * 1.2 * 2.5e7


def test_a_declared_sum_starts_when_its_device_did() -> None:
    """Few sums carry temporality; theirs is cumulative, monotonic, and moves its start with a restart."""
    simulation = Simulation(5, 20, odds=Odds(restart=MINUTELY, no_data=0, repeat=0, late=0))
    starts: list[set[str]] = []
    for now in (NOW, NOW + 120_000):
        declared = [d for m in simulation.polls(now) for d in datapoints(m) if "aggregationTemporality" in d[2]]
        assert all(data["isMonotonic"] is True and data["aggregationTemporality"] == 2 for _, _, data, _ in declared)
        starts.append({point["startTimeUnixNano"] for _, _, _, point in declared})
    assert [len(each) for each in starts] == [1, 1]
    assert int(min(starts[0])) < NOW * 10**6 <= int(min(starts[1])) <= (NOW + 120_000) * 10**6


def test_a_simulation_that_starts_again_continues() -> None:
    """A value is of its series and the time alone: neither earlier rounds nor other devices change it."""
    first = Simulation(6, 20, odds=CALM)
    before = [poll for at in (NOW, NOW + 60_000) for poll in first.polls(at)]
    assert list(Simulation(6, 20, odds=CALM).polls(NOW + 60_000)) == before[120:]
    assert list(Simulation(9, 20, odds=CALM).polls(NOW + 60_000))[:120] == before[120:]


@cache
def hour_of_story() -> list[list[SimulatedMessage]]:
    """Give the polls of each minute of an hour."""
    simulation = Simulation(15, 20, odds=CALM, story=True)
    return [list(simulation.polls(HOUR + minute * 60_000)) for minute in range(60)]


def hourly(device: int, datasource: str, metric: str, alias: str) -> list[float | None]:
    """Give a series' value in each minute of that hour; None where it sends nothing."""
    found = list[float | None]()
    for polls in hour_of_story():
        points = [
            float(point["asInt"] if "asInt" in point else point["asDouble"])
            for message in polls
            if message.key == str(1_017_594 + device).encode() and scope(message)["scope"]["name"] == datasource
            for name, _, _, point in datapoints(message)
            if name == metric and texts(point["attributes"])["wildAlias"] == alias
        ]
        found.append(points[0] if points else None)
    return found


def test_a_volume_fills_up_in_each_hour() -> None:
    """/var of the first Linux server grows to its size in 55 minutes, and is emptied at the hour."""
    used = [value or 0 for value in hourly(0, "Volume Usage-", "hrStorageUsed", "/var")]
    assert used[0] == 10_300_000
    assert all(after > before for before, after in pairwise(used[:56]))
    assert set(used[55:]) == {25_000_000}


def test_a_device_is_silent_for_a_while() -> None:
    """The third switch sends nothing from minute 20 to 45."""
    polls = hourly(14, "Ping", "sentpkts", "0")
    assert [minute for minute, value in enumerate(polls) if value is None] == list(range(20, 45))


def test_a_counter_starts_again_when_its_host_restarts() -> None:
    """The first ESXi host restarts at minute 15: its declared counters begin at 0."""
    ready = [value or 0 for value in hourly(4, "VMware_ESXi_HostCPU", "ReadyMs", "0")]
    assert [minute for minute, (before, after) in enumerate(pairwise(ready), 1) if after < before] == [15]
    assert ready[15] == 0


def test_a_deployment_slows_an_interface() -> None:
    """The first port of the first switch has a fifth of its throughput from minute 35 to 50."""
    octets = [value or 0 for value in hourly(2, "SNMP_Network_Interfaces", "ifHCInOctets", "GigabitEthernet0/0/0")]
    rates = [(after - before) / 60 for before, after in pairwise(octets)]
    assert max(rates[35:50]) < 0.5 * min(rates[:35] + rates[50:])


@pytest.mark.parametrize("event", ["noData", "repeats", "late", "restarts"])
def test_mishaps_happen_at_their_rate_and_are_counted(event: str) -> None:
    """Over many trials each mishap comes within a quarter of its odds."""
    simulation = Simulation(500, 4, odds=Odds(no_data=0.05, restart=0.05 * MINUTELY, repeat=0.05, late=0.05))
    for n in range(11):
        list(simulation.polls(NOW + n * 60_000))
    trials = 500 * 10 if event == "restarts" else 500 * 4 * 11
    assert simulation.events[event] == pytest.approx(0.05 * trials, rel=0.25)


def test_a_repeat_is_the_same_bytes_again() -> None:
    """Each repeated message is byte for byte one that came before, and nothing else occurs twice."""
    simulation = Simulation(10, 20, odds=Odds(no_data=0, restart=0, repeat=0.1, late=0))
    sent = Counter(simulation.polls(NOW))
    assert set(sent.values()) == {1, 2}
    assert sum(n - 1 for n in sent.values()) == simulation.events["repeats"] > 0


def test_a_late_message_follows_newer_ones_and_none_is_lost() -> None:
    """A held message comes after the next round, with its own older time."""
    simulation = Simulation(10, 20, odds=Odds(no_data=0, restart=0, repeat=0, late=0.1))
    first, second = (
        [texts(scope(m)["scope"]["attributes"])["epoch"] for m in simulation.polls(now)] for now in (NOW, NOW + 60_000)
    )
    late = 200 - len(first)
    assert late > 0
    assert second[-late:] == [str(NOW)] * late
    assert set(second[:-late]) == {str(NOW + 60_000)}


def test_a_poll_without_data_is_encoded_in_each_of_three_ways() -> None:
    """Left out, NaN, and the no-recorded-value flag all occur, each for all datapoints of the poll."""
    ways = Counter[tuple[str, ...]]()
    for message in Simulation(10, 20, odds=Odds(no_data=1, restart=0, repeat=0, late=0)).polls(NOW):
        ways[tuple({f"{k}={p[k]}" for _, _, _, p in datapoints(message) for k in ("asDouble", "flags") if k in p})] += 1
    assert set(ways) == {(), ("asDouble=NaN",), ("flags=1",)}


def test_polls_are_spread_over_their_interval() -> None:
    """With a spread, the first poll is at the given time and the others follow evenly."""
    epochs = [
        int(texts(scope(m)["scope"]["attributes"])["epoch"]) for m in Simulation(1, 4, odds=CALM).polls(NOW, 60_000)
    ]
    assert epochs == [NOW, NOW + 15_000, NOW + 30_000, NOW + 45_000]


def test_the_devices_stay_the_same() -> None:
    """Apart from values, the polls of every kind of device are the bytes that they were as Python literals."""
    simulation, polls = Simulation(12, 300, odds=CALM), sha256()
    values = re.compile(rb'"startTimeUnixNano":"\d+"|"asInt":"\d+"|"asDouble":[^,]+')
    for round_number in range(3):
        for message in simulation.polls(NOW + 60_000 * round_number, 1_000):
            polls.update(message.key + values.sub(b"", message.value))
    assert polls.hexdigest() == "1f89cdcefd417d5f87ff82a290bcd8c52bb28b334274eca1a1515bed40aca495"
