"""The lines of a bill, checked by arithmetic done by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lmdp.cost.basis import shipped_prices, shipped_quantities
from lmdp.cost.bill import Basis, Bill, bill, by_writer, savings, warnings
from lmdp.cost.capacity import Traffic, payload_bytes
from lmdp.cost.traffic import Measured, Planned

REFERENCE = Planned(devices=1000, instances=120, datapoints=6, interval=60)


def made(load: Planned | Measured = REFERENCE, writer: str = "firehose", /, **given: float) -> Bill:
    """The bill of a load with our own round prices and quantities, which no look-up of prices moves."""
    fixed = {
        "msk_broker": 0.2, "msk_storage": 0.1, "zone_transfer": 0.01, "private_ca": 400, "pipe_requests": 0.4,
        "lambda_requests": 0.2, "lambda_gb_second": 0.00001, "firehose_gb": 0.1, "s3_put": 0.005, "kms_key": 1,
        "endpoint_hour": 0.01, "endpoint_gb": 0.01, "log_ingest": 0.5, "traces": 5, "snowpipe_gb": 0.0037, "credit": 3,
        "snowflake_storage": 20, "cpu_us_row": 20, "batch": 200, "nat_gb": 0.04,
    }  # fmt: skip
    values = fixed | given
    priced = {
        name: replace(price, value=values.get(name, price.value), certainty="given" if name in given else "sure")
        for name, price in shipped_prices().items()
    }
    counted = {name: replace(one, value=values.get(name, one.value)) for name, one in shipped_quantities().items()}
    return bill(Basis(load, priced, counted, writer))


def sums(found: Bill) -> dict[str, tuple[float, float]]:
    """Both sums of each line."""
    return {f"{line.part}, {line.what}": (line.low, line.high) for line in found.lines}


# A month has 730 hours, 2,628,000 s: 31,536 million rows in 5,256 million messages of 580 + 6 * 470 = 3,400 bytes.
@pytest.mark.parametrize(
    ("line", "low", "high"),
    [
        ("MSK, brokers", 3 * 730 * 0.2, None),
        ("MSK, disks", 3 * 500 * 0.1, None),
        ("MSK, transfer between zones", 0, 17_870.4 * 2 / 3 * 2 * 0.01),
        ("Private CA, authority", 400, None),
        # 200 messages of 3,400 * 4/3 + 400 bytes are 986,667 bytes: 16 times 64 KB, 26.28 million times.
        ("Pipes, requests", 26.28 * 16 * 0.4, 5_256 * 0.4),
        ("Lambda, requests", (26_280_000 + 8_760) / 1e6 * 0.2, None),
        # 1,200 rows of 20 µs on 1,024/1,769 of a core, and 0.1 s for Firehose.
        ("Lambda, compute", 26_280_000 * (0.024 * 1_769 / 1_024 + 0.1) * 0.00001, None),
        ("Firehose, rows taken in", 31_536e6 * 612 / 1e9 * 0.1, 31_536e6 * 5_000 / 1e9 * 0.1),
        ("S3, rejects written", 525_600 / 1_000 * 0.005, None),
        ("KMS, keys", 6, None),
        ("Pipe's network, endpoints", 0, None),
        ("Pipe's network, data", 0, 5_256e6 * (3_400 * 4 / 3 + 400) / 1e9 * 0.04),
        ("CloudWatch, logs taken in", (26.28e6 * 1_900 / 1e9 + 3) * 0.5, None),
        # Ten a second: the first, and a twentieth of nine.
        ("X-Ray, traces", 1.45 * 2.628 * 5, None),
        # 612 bytes a row: 42 percent are values, 77 with the keys of the maps.
        ("Snowpipe Streaming, ingest", 31_536e6 * 257.04 / 1e9 * 0.0037 * 3, 31_536e6 * 471.24 / 1e9 * 0.0037 * 3),
        # 381.145 million rows read at a million a second, 150.892 million changed at a quarter of it, a minute awake.
        ("Snowflake warehouse, dynamic tables", 730 * (381.145 + 150.892 * 4 + 60) / 3_600 * 3, None),
        ("Snowflake warehouse, reports", 2 * 730 / 24 * 3, None),
        # 12,000 rows/s of 86,400 s, for 30 days and 14 more; as many points, and steps of three tenths of them.
        ("Snowflake storage, raw rows", 12_000 * 86_400 * 44 * 60 / 1e12 * 20, None),
        ("Snowflake storage, points and steps", 12_000 * 86_400 * 30 * 1.3 * 60 / 1e12 * 20, None),
        # A day of a series: 24 hours, of which sums have another line each, a day, four buckets.
        ("Snowflake storage, roll-ups of a year", 720_000 * 365 * (24 * 1.3 + 1 + 4) * 60 / 1e12 * 20, None),
        # Kept tables change 2.592 million rows an hour, for 8 days; the others 148.3 million, for one.
        ("Snowflake storage, replaced rows", 24 * (2.592 * 8 + 148.3) * 1e6 * 60 / 1e12 * 20, None),
    ],
)
def test_reference_load(line: str, low: float, high: float | None) -> None:
    """1,000 devices of 120 instances and 6 datapoints a minute, each line by hand."""
    assert sums(made())[line] == pytest.approx((low, low if high is None else high))


def test_the_total_is_the_sum_of_its_lines() -> None:
    """Both of them, and no line costs less at most."""
    found = made()
    assert found.low == pytest.approx(sum(low for low, _ in sums(found).values()))
    assert found.high == pytest.approx(sum(high for _, high in sums(found).values()))
    assert all(low <= high for low, high in sums(found).values())


@pytest.mark.parametrize(
    ("row_bytes", "billed"), [(1, 5_000), (612, 5_000), (5_000, 5_000), (5_001, 10_000), (12_000, 15_000)]
)
def test_each_row_is_rounded_up_to_5_kb(row_bytes: float, billed: float) -> None:
    """3 KB are billed as 5, 12 as 15: https://aws.amazon.com/firehose/pricing/."""
    low, high = sums(made(row_bytes=row_bytes))["Firehose, rows taken in"]
    assert (low, high) == pytest.approx((31_536 * row_bytes * 1e-4, 31_536 * billed * 1e-4))


@pytest.mark.parametrize(
    ("devices", "invocations"),
    # 2 messages a second never fill a batch of 200; 20 do not either, but 12 partitions' windows of 5 s end 2.4 times.
    [(1, 5_256_000), (10, 2.4 * 2_628_000), (1000, 26_280_000)],
)
def test_a_batch_goes_when_its_window_ends(devices: int, invocations: float) -> None:
    """A small load makes more invocations a message, never more than one each."""
    assert made(replace(REFERENCE, devices=devices)).numbers["invocations"] == pytest.approx(invocations)


def test_a_measured_run_costs_what_the_same_plan_does() -> None:
    """Ten seconds of the reference load."""
    run = Measured(messages=20_000, rows=120_000, bytes=68_000_000, seconds=10, rejects=2)
    assert sums(made(run)) == pytest.approx(sums(made()))


def test_the_capacity_model_and_the_bill_agree() -> None:
    """Rates, and what a pipe hands over, are the same to the stacks and to the bill."""
    numbers, traffic = made().numbers, Traffic(devices=1000, datapoints=720, message_bytes=3_400)
    assert (traffic.messages_per_second, traffic.rows_per_second) == (
        numbers["messages_second"],
        numbers["rows_second"],
    )
    assert payload_bytes(200, 3_400) == pytest.approx(numbers["payload_bytes"])


def test_a_cluster_that_is_there_costs_nothing_more() -> None:
    """Neither brokers, disks, their metrics nor their logs."""
    found = sums(made(brokers=0))
    assert [found[f"MSK, {what}"][0] for what in ("brokers", "disks")] == [0, 0]
    assert found["CloudWatch, metrics of the brokers"] == (0, 0)


def test_what_is_unsure_and_assumed_is_known_by_line() -> None:
    """A line carries the marks of every price and quantity in it, also through steps; what was given is none."""
    shipped = bill(Basis(REFERENCE, shipped_prices(), shipped_quantities()))
    by_name = {f"{line.part}, {line.what}": line for line in shipped.lines}
    assert shipped.unsure(by_name["Firehose, rows taken in"]) == ["firehose_gb"]
    assert shipped.unsure(by_name["Private CA, authority"]) == []
    assert shipped.assumed(by_name["Lambda, compute"]) == ["firehose_seconds", "vcpu_speed"]
    known = made(firehose_gb=0.05)
    assert known.unsure(next(line for line in known.lines if line.part == "Firehose")) == []


def test_what_dominates_is_the_greatest_line() -> None:
    """By what it costs at most."""
    assert made().dominant().part == "Firehose"
    assert made(firehose_gb=0, pipe_requests=0, nat_gb=0).dominant().what == "dynamic tables"


def test_savings_save_what_they_say() -> None:
    """Each is worked out by changing one thing; the greatest comes first, and what saves nothing is left out."""
    in_order = [saving.high for saving in savings(made())]
    assert in_order == sorted(in_order, reverse=True)
    assert not any("interface endpoints" in saving.what for saving in savings(made(pipe_through_nat=0)))
    assert not any("LMDP_BATCH_SIZE" in saving.what for saving in savings(made(batch=1000)))


@pytest.mark.parametrize(
    ("given", "data", "low", "high"),
    # 25,929.6 GB a month. Five endpoints in three zones cost 109.50 USD, whoever's data passes them.
    [
        ({}, 25_929.6 * 0.04, 0, 25_929.6 * 0.03),
        ({"endpoints": 5, "pipe_through_nat": 0}, 25_929.6 * 0.01, 109.5, 109.5),
        ({"pipe_through_nat": 0}, 25_929.6 * 0.01, None, None),
    ],
)
def test_the_pipes_data_is_charged_by_a_nat_gateway_or_by_endpoints(
    given: dict[str, float], data: float, low: float | None, high: float | None
) -> None:
    """Endpoints that are there already save their hours and the NAT gateway's share, never their own charge a GB."""
    made_here = made(**given)
    assert sums(made_here)["Pipe's network, data"] == pytest.approx((0, data))
    found = [(one.low, one.high) for one in savings(made_here) if "interface endpoints" in one.what]
    assert found == ([] if low is None else [pytest.approx((low, high))])


def test_a_load_without_bytes_has_no_larger_batch() -> None:
    """Messages of 0 bytes divide nothing by nothing."""
    found = savings(made(message_base_bytes=0, datapoint_bytes=0, record_overhead_bytes=0))
    assert not any("LMDP_BATCH_SIZE" in saving.what for saving in found)


def test_a_larger_batch_stays_within_what_a_pipe_hands_over() -> None:
    """Messages of 47 KB: 5.5 MB hold 86 of them in base64, and the saving asks for no more."""
    wide = replace(REFERENCE, datapoints=100)
    found = [saving.what for saving in savings(made(wide, batch=50)) if "LMDP_BATCH_SIZE" in saving.what]
    assert found == [
        "larger batches (LMDP_BATCH_SIZE=86), for messages up to 47,665 bytes (LMDP_TOPIC_MAX_MESSAGE_BYTES)"
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ["24 hours of messages in 3 copies are 1,642 GiB", "Reports would use 61 credits a month"]),
        ({"storage_gib": 600, "credit_quota": 400}, []),
        ({"brokers": 0, "credit_quota": 400}, []),
        ({"retention_hours": 6, "report_hours": 0}, []),
        (
            {"brokers": 0, "report_hours": 0, "read_rows_second": 1e5},
            ["Refreshes would use 907 credits a month", "would take 4,475 s on the XSMALL"],
        ),
    ],
)
def test_what_does_not_fit_is_reported(given: dict[str, float], expected: list[str]) -> None:
    """The brokers' disks, and the monitor that stops the warehouse."""
    found = warnings(made(**given))
    assert len(found) == len(expected)
    assert all(words in text for words, text in zip(expected, found, strict=True))


@pytest.mark.parametrize(
    ("writer", "parts"),
    [
        ("firehose", {"MSK", "Pipes", "Lambda", "Firehose", "X-Ray", "Pipe's network"}),
        ("lambda", {"MSK", "Pipes", "Lambda", "X-Ray", "Pipe's network", "Transfer"}),
        ("consumer", {"MSK", "Fargate", "NAT gateways"}),
        ("own-kafka", set()),
    ],
)
def test_each_writer_has_its_own_parts(writer: str, parts: set[str]) -> None:
    """Snowflake's lines are the same for all of them, and the comparison has the sums of each bill."""
    found, reference = made(REFERENCE, writer), made()
    known = {"MSK", "Pipes", "Lambda", "Firehose", "X-Ray", "Pipe's network", "Transfer", "Fargate", "NAT gateways"}
    assert {line.part for line in found.lines} & known == parts
    of_snowflake = {name: both for name, both in sums(reference).items() if name.startswith("Snow")}
    assert {name: both for name, both in sums(found).items() if name.startswith("Snow")} == of_snowflake
    compared = by_writer(reference)[writer][1]
    assert (compared.low, compared.high) == (found.low, found.high)
    assert compared.low <= reference.low


def test_the_consumer_by_hand() -> None:
    """A task of a vCPU and two GiB, a NAT gateway, and a thirtieth of the rows' bytes through it."""
    found = sums(made(REFERENCE, "consumer", nat_gb=0.05, nat_hour=0.05, fargate_vcpu_hour=0.03, fargate_gb_hour=0.004))
    assert found["KMS, keys"][0] == pytest.approx(6 + 1)
    assert found["Secrets Manager, secrets"][0] == pytest.approx((3 + 3) * 0.4)
    assert found["CloudWatch, alarms"][0] == pytest.approx((48 + 5) * 0.1)
    assert found["Fargate, processors"][0] == pytest.approx(730 * 0.03)
    assert found["Fargate, memory"][0] == pytest.approx(2 * 730 * 0.004)
    assert found["NAT gateways, hours"][0] == pytest.approx(730 * 0.05)
    gigabytes = 31_536e6 * 612 / 1e9
    assert found["NAT gateways, data"] == pytest.approx((gigabytes * 0.033 * 0.05, gigabytes * 0.125 * 0.05))
    assert found["CloudWatch, logs taken in"][0] == pytest.approx(3 * 0.5)


def test_receivers_by_hand() -> None:
    """Two tasks, a balancer, a key with three secrets; nothing of it without receivers, and no key twice."""
    given = {"receivers": 2, "fargate_vcpu_hour": 0.03, "fargate_gb_hour": 0.004, "balancer_hour": 0.02,
             "balancer_gb": 0.01, "secret": 0.4, "metric": 0.3, "alarm_metric": 0.1}  # fmt: skip
    found = {name: both for name, both in sums(made(REFERENCE, **given)).items() if name.startswith("Receiver")}
    assert found == {
        "Receiver, processors": pytest.approx((2 * 730 * 0.03,) * 2),
        "Receiver, memory": pytest.approx((2 * 2 * 730 * 0.004,) * 2),
        "Receiver, load balancer": pytest.approx((730 * 0.02,) * 2),
        "Receiver, key, secrets": pytest.approx((1 + 3 * 0.4,) * 2),
        "Receiver, metrics, alarms": pytest.approx((2 * 0.3 + 5 * 0.1,) * 2),
        "Receiver, capacity": pytest.approx((0, 17_870.4 * 0.01)),
    }
    assert sums(made(REFERENCE, "consumer", **given))["Receiver, key, secrets"] == (0, 0)
    assert not [name for name in sums(made()) if name.startswith("Receiver")]
