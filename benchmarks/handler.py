"""CPU of the function for 1,000 rows (transform, encode, deliver), beside a plain boto3 + json function of the same.

    python benchmarks/handler.py [--messages 200] [--seconds 10]

Both handle the same event of LogicMonitor's size (6 datapoints a message) in turn in this process, against the Firehose
double in another one. The plain one has no protobuf, no histograms, no rejects and no limits but 500 records a call.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from statistics import median
from typing import Any

STREAM = "metrics"


class Context:
    """Lambda's context, as far as it is used."""

    aws_request_id = "00000000-0000-0000-0000-000000000001"

    def get_remaining_time_in_millis(self) -> int:
        """Enough."""
        return 60_000


def bundle(number: int, datapoints: int = 6) -> bytes:
    """A poll of one instance, in the shape and size of LogicMonitor's."""
    attributes = {
        "dataSourceInstanceName": f"WinCPUCore-core {number}",
        "wildValue": f"core {number}",
        "wildAlias": f"core {number}",
    }
    metrics = [
        {
            "name": f"PercentProcessorTime{n}",
            "gauge": {
                "dataPoints": [
                    {
                        "timeUnixNano": str(1_764_000_000_000_000_000 + number * 1_000_000),
                        "asDouble": number / 7 + n,
                        "attributes": pairs({**attributes, "datapointid": str(197_642 + n)}),
                    }
                ]
            },
        }
        for n in range(datapoints)
    ]
    resource = {"hostName": f"web-{number % 50}", "hostId": str(number % 50), "system.categories": "windows,prod"}
    scope = {"collector": "wmi", "epoch": "1764000000000", "datasourceId": "128265135", "datasourceInstanceId": "36754"}
    scopes = [{"scope": {"name": "WinCPUCore", "attributes": pairs(scope)}, "metrics": metrics}]
    return json.dumps(
        {"resourceMetrics": [{"resource": {"attributes": pairs(resource)}, "scopeMetrics": scopes}]}
    ).encode()


def pairs(values: dict[str, str]) -> list[dict[str, Any]]:
    """OTLP's form of a map."""
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]


def event(messages: int) -> list[dict[str, Any]]:
    """An event as a pipe gives it."""
    return [
        {
            "topic": "lm.metrics.otlp",
            "partition": "0",
            "offset": n,
            "timestamp": 1_764_000_000_000,
            "value": b64encode(bundle(n)).decode(),
        }
        for n in range(messages)
    ]


def plain(client: Any) -> Callable[[list[dict[str, Any]]], int]:
    """What one writes in an afternoon: json, dictionaries, and boto3's `put_record_batch`, eight calls at a time."""
    pool = ThreadPoolExecutor(8)

    def flatten(value: bytes) -> Iterator[dict[str, Any]]:
        for resource in json.loads(value)["resourceMetrics"]:
            wide = {pair["key"]: pair["value"]["stringValue"] for pair in resource["resource"]["attributes"]}
            device, name = wide.pop("hostId"), wide.pop("hostName")
            for scoped in resource["scopeMetrics"]:
                scope = {pair["key"]: pair["value"]["stringValue"] for pair in scoped["scope"]["attributes"]}
                for metric in scoped["metrics"]:
                    for point in metric["gauge"]["dataPoints"]:
                        attributes = {pair["key"]: pair["value"]["stringValue"] for pair in point["attributes"]}
                        ms = int(point["timeUnixNano"]) // 1_000_000
                        ts = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
                        yield {
                            "orgId": "acme",
                            "deviceId": device,
                            "deviceName": name,
                            "datasource": scoped["scope"]["name"],
                            "instance": attributes.pop("dataSourceInstanceName"),
                            "metric": metric["name"],
                            "type": "gauge",
                            "ts": ts.replace("+00:00", "Z"),
                            "tsUnixMs": ms,
                            "value": point["asDouble"],
                            "attributes": attributes,
                            "resource": wide,
                            "scope": {"name": scoped["scope"]["name"], **scope},
                        }

    def put(records: list[dict[str, bytes]]) -> None:
        answer = client.put_record_batch(DeliveryStreamName=STREAM, Records=records)
        if answer["FailedPutCount"]:
            raise RuntimeError("some records were refused")

    def handle(records: list[dict[str, Any]]) -> int:
        rows = [
            {"Data": json.dumps(row, separators=(",", ":"), sort_keys=True).encode()}
            for record in records
            for row in flatten(b64decode(record["value"]))
        ]
        list(pool.map(put, [rows[at : at + 500] for at in range(0, len(rows), 500)]))
        return len(rows)

    return handle


def compare(functions: dict[str, Callable[[], int]], seconds: float) -> dict[str, float]:
    """The median CPU in ms of 1,000 rows, the functions in turn, so that the machine's moods hit both."""
    spent: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name, function in functions.items():
            begun = time.process_time()
            rows = function()
            spent[name].append(1e6 * (time.process_time() - begun) / rows)
    return {name: median(values) for name, values in spent.items()}


@contextlib.contextmanager
def double() -> Iterator[str]:
    """The Firehose double in a process of its own; gives its URL."""
    command = [sys.executable, "-m", "lmdp.aws.firehose_double"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        yield process.stdout.readline().strip()
        process.stdin.close()


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=200, help="messages an event; 200 are 1,200 rows")
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    os.environ.update(AWS_ACCESS_KEY_ID="AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY="an-example")  # pragma: allowlist secret
    import boto3  # noqa: PLC0415 - after the environment

    from lmdp import TransformSettings, encode, transform  # noqa: PLC0415 - as above
    from lmdp.aws.events import read_event  # noqa: PLC0415 - as above
    from lmdp.aws.firehose import deliver, open_firehose  # noqa: PLC0415 - as above
    from lmdp.aws.function import open_function  # noqa: PLC0415 - as above

    given = event(options.messages)
    with double() as url:
        env = {
            "AWS_REGION": "eu-west-1",
            "LMDP_DELIVERY_STREAM": STREAM,
            "LMDP_REJECTS_BUCKET": "none-needed",
            "LMDP_ORG_ID": "acme",
            "AWS_ENDPOINT_URL_FIREHOSE": url,
        }
        with contextlib.redirect_stdout(io.StringIO()):
            function = open_function(env)
        handle = plain(boto3.client("firehose", region_name="eu-west-1", endpoint_url=url))
        settings = TransformSettings(org_id="acme")
        rows = encode(transform(read_event(given).messages, settings).rows)
        firehose = open_firehose(STREAM, "eu-west-1", env, 8)
        client = boto3.client("firehose", region_name="eu-west-1", endpoint_url=url)
        call = rows[:500]

        def ours() -> int:
            return int(function(given, Context())["delivered"])

        def boto() -> int:
            client.put_record_batch(DeliveryStreamName=STREAM, Records=[{"Data": row} for row in call])
            return len(call)

        cpu = compare(
            {
                "lmdp": ours,
                "plain": lambda: handle(given),
                "transform + encode": lambda: len(encode(transform(read_event(given).messages, settings).rows)),
                "a call of 500": lambda: deliver(firehose, call, firehose.clock() + 60).accepted,
                "a call of 500, boto3": boto,
            },
            options.seconds,
        )
    size = sum(map(len, rows)) / len(rows)
    print(f"{len(rows):,} rows of {size:.0f} bytes an event, {options.seconds:.0f} s; CPU in ms, median")
    print(f"  the function, 1,000 rows    lmdp {cpu['lmdp']:6.2f}   plain boto3 + json {cpu['plain']:6.2f}", end="")
    print(f"   {cpu['plain'] / cpu['lmdp']:.2f} times as much")
    print(f"    of it transform + encode  lmdp {cpu['transform + encode']:6.2f}")
    ours_call, boto_call = cpu["a call of 500"] / 2, cpu["a call of 500, boto3"] / 2
    print(f"  one call of 500 rows        lmdp {ours_call:6.2f}   boto3 {boto_call:6.2f}", end="")
    print(f"   {boto_call / ours_call:.2f} times as much")


if __name__ == "__main__":
    main()
