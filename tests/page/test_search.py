"""The search: every word has to match a name, the best matches come first, and a typing error is no obstacle."""

from __future__ import annotations

import pytest

from lmdp.page.search import Index


def index() -> Index:
    """Three devices: two with interfaces, one with a CPU."""
    found = Index()
    for number, name in ((500, "switch-01"), (501, "switch-02"), (77, "linux-05.example.com")):
        device = {"orgId": "acme", "deviceId": str(number), "deviceName": name, "rows": 10, "newestMs": number}
        if number == 77:
            found.add(device, "LinuxCPU", None, ["CPUBusyPercent"])
        else:
            found.add(device, "SNMP_Network", "eth0", ["ifInOctets", "ifOutOctets"])
            found.add(device, "SNMP_Network", "eth1", ["ifInOctets"])
    return found


def names(found: dict[str, list[dict[str, object]]]) -> list[str]:
    """The matches as one text each: devices, metrics over several series, series."""
    series = [" ".join(str(one[key] or "-") for key in ("deviceName", "instance", "metric")) for one in found["series"]]
    over = [f"{one['deviceId'] or '*'} {one['metric']} {one['series']}" for one in found["metrics"]]
    return [*(f"device {one['deviceId']}" for one in found["devices"]), *over, *series]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpubusy", ["linux-05.example.com - CPUBusyPercent"]),
        ("linux 5", ["device 77", "linux-05.example.com - CPUBusyPercent"]),
        ("77", ["device 77", "linux-05.example.com - CPUBusyPercent"]),
        ("SWITCH-02 eth1", ["switch-02 eth1 ifInOctets"]),
        ("501 out", ["501 ifOutOctets 2", "switch-02 eth0 ifOutOctets"]),
        ("eth0 ifout", ["switch-01 eth0 ifOutOctets", "switch-02 eth0 ifOutOctets"]),
        ("ifinoct network", ["* ifInOctets 4", "switch-01 eth0 ifInOctets", "switch-01 eth1 ifInOctets",
                             "switch-02 eth0 ifInOctets", "switch-02 eth1 ifInOctets"]),
        ("cpbsyprcnt", ["linux-05.example.com - CPUBusyPercent"]),
        ("cpuxbusy", ["linux-05.example.com - CPUBusyPercent"]),
        ("zzzz", []),
        ("cpu switch", []),
    ],
)  # fmt: skip
def test_a_text_finds_what_has_all_its_words(text: str, expected: list[str]) -> None:
    """Names, ids, letters left out, one wrong letter, and nothing."""
    found = index().search(text, 50)
    assert names(found) == expected
    assert found["more"] is False


def test_without_a_text_there_is_the_beginning_of_each_kind() -> None:
    """As many as asked for, and that there are more."""
    found = index().search("  ", 2)
    assert {kind: len(found[kind]) for kind in ("devices", "metrics", "series")} == {
        "devices": 2,
        "metrics": 2,
        "series": 2,
    }
    assert found["more"] is True


def test_a_name_that_is_the_word_comes_before_one_that_has_it() -> None:
    """The device 5 is found before all those with a 5 in them."""
    found = Index()
    for number in (*range(50, 60), 5):
        device = {"orgId": "acme", "deviceId": str(number), "deviceName": f"host {number}", "rows": 1, "newestMs": 0}
        found.add(device, "Cpu", None, ["Load"])
    assert [one["deviceId"] for one in found.search("5", 3)["devices"]] == ["5", "50", "51"]


def test_what_comes_later_is_added() -> None:
    """New metrics of a known instance are found, and rows are counted once each."""
    found = index()
    device = {"orgId": "acme", "deviceId": "77", "deviceName": None, "rows": 5, "newestMs": 9}
    found.add(device, "LinuxCPU", None, ["Load"])
    assert names(found.search("load", 9)) == ["linux-05.example.com - Load"]
    assert names(found.search("busy", 9)) == ["linux-05.example.com - CPUBusyPercent"]
    (device,) = [one for one in found.devices() if one["deviceId"] == "77"]
    assert (device["rows"], device["newestMs"], device["deviceName"]) == (15, 77, "linux-05.example.com")
