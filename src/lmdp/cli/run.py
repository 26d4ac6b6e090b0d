"""`lmdp run`: the whole pipeline on this machine."""

import json
import os
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lmdp.cli.command import option_groups
from lmdp.cli.options import Json, KafkaOptions, warehouse_file
from lmdp.cli.receive import ReceiverOptions, receiver_settings
from lmdp.cli.run_options import (
    ConsumerOptions,
    PageOptions,
    SimulationOptions,
    StorageOptions,
    UntilIdle,
    contradictions,
    days_of,
    devices_of,
    partitions_of,
)
from lmdp.errors import SettingsError
from lmdp.support.available import cores
from lmdp.support.signals import stopped_by_signals

if TYPE_CHECKING:
    from lmdp.cli.run_log import RunLog
    from lmdp.core.specification import Spec
    from lmdp.machine.services import MachineSettings, Receive
    from lmdp.machine.store import OpenStore
    from lmdp.support.reject_files import RejectPlace

_MOST_WORKERS = 4  # by default: the process that commits is busy with what so many transform


@option_groups(contradictions)
def run(  # noqa: PLR0913 - typer reads them
    *,
    kafka: KafkaOptions,
    consumer: ConsumerOptions,
    simulation: SimulationOptions,
    storage: StorageOptions,
    page: PageOptions,
    receiver: ReceiverOptions,
    until_idle: UntilIdle = False,
    as_json: Json = False,
) -> None:
    """Run the whole pipeline on this machine: Kafka → rows and rejects → DuckDB, or Snowflake.

    Without options it starts its own Kafka with simulated devices, so that there are rows within a minute. With
    --bootstrap-servers it consumes your topic. Open its page, or query it: lmdp query, lmdp status. Ctrl-C ends it; the
    next run resumes from the last committed offset.

    Example: lmdp run --simulate 200 --interval 5 --duration 60 --json

    Example: lmdp run --receive

    Example: lmdp run --bootstrap-servers b-1.example.com:9094 --ca ca.pem --cert me.pem --key me.key --org-id acme

    Example: lmdp run --to snowflake --bootstrap-servers b-1.example.com:9094 --cert me.pem --key me.key --org-id acme
    """
    from lmdp.cli.run_log import RunLog  # noqa: PLC0415 - loads rich

    log = RunLog()
    settings = _settings(kafka, consumer, simulation, storage, page, until_idle, log)
    if consumer.receive:
        settings = replace(settings, receive=_receiver(kafka.topic, receiver))
    report = _run(settings, log)
    if as_json:
        print(json.dumps(report))
    else:
        log.summary(report, settings.home)
    if report["gaps"] or any(report[name] for name in ("duplicates", "missing", "holes", "warning")):
        raise typer.Exit(1)


def _settings(
    kafka: KafkaOptions,
    consumer: ConsumerOptions,
    simulation: SimulationOptions,
    storage: StorageOptions,
    page: PageOptions,
    until_idle: bool,  # noqa: FBT001 - as the option has it
    log: "RunLog",
) -> "MachineSettings":
    """Return the run's settings. Raises SettingsError."""
    from lmdp.core.pipeline import TENANT_HEADER, TransformSettings  # noqa: PLC0415 - loads the core
    from lmdp.machine.services import MachineSettings, Simulated  # noqa: PLC0415 - loads DuckDB
    from lmdp.machine.settings import ConsumeSettings  # noqa: PLC0415 - as above
    from lmdp.page import process  # noqa: PLC0415 - as above
    from lmdp.replay.owner import serve  # noqa: PLC0415 - as above
    from lmdp.support.settings_reader import configured_limits  # noqa: PLC0415 - as above
    from lmdp.support.specification_file import configured_spec  # noqa: PLC0415 - as above

    own = kafka.servers is None
    devices = devices_of(kafka.servers, simulation.simulate, until_idle or consumer.receive)
    tenant = storage.org_id or ("demo" if own and (devices or consumer.receive) else None)
    if tenant != storage.org_id:
        log(f"the tenant of {'the simulated devices' if devices else 'requests without one'} is `demo`; --org-id or "
            "LMDP_ORG_ID sets another")  # fmt: skip
    # Who may write to this machine's own broker has the certificates of the home, and could change the rows, too.
    header = storage.tenant_header or (TENANT_HEADER if own and consumer.receive else None)
    has_page = page.page if page.page is not None else simulation.duration is None and not until_idle
    chosen = partitions_of(consumer.partitions) if consumer.partitions is not None else None
    spec = configured_spec()
    rejects = _rejects(storage.rejects or (str(storage.home / "rejects") if storage.to == "snowflake" else None))
    store, row_spec = None, None
    if storage.to == "snowflake" and rejects:
        store, row_spec = _snowflake(spec, rejects.name, shared=consumer.share)
    return MachineSettings(
        home=storage.home,
        warehouse=warehouse_file(storage.warehouse, storage.home),
        transform=TransformSettings(org_id=tenant, tenant_header=header, spec=spec, **configured_limits()),
        consume=ConsumeSettings(
            topic=kafka.topic,
            partitions=chosen,
            group=consumer.group,
            rejects=rejects,
            workers=_workers(consumer.workers),
            from_group=store is not None,
            shared=consumer.share,
            row_spec=row_spec,
        ),
        store=store,
        access=None if own else kafka.access(),
        memory=consumer.broker == "memory",
        kafka_home=consumer.kafka_home,
        simulated=Simulated(devices, simulation.instances, simulation.interval, simulation.duration)
        if devices
        else None,
        until_idle=until_idle,
        keep_days=days_of(storage.keep),
        page=partial(process.page, port=page.page_port, shows_token=sys.stderr.isatty()) if has_page else None,
        replay=serve,
    )


def _receiver(topic: str, given: ReceiverOptions) -> "Receive":
    """Return what serves the receiver, once the broker is there. Raises SettingsError before."""
    from lmdp.machine.kafka.access import KafkaAccess  # noqa: PLC0415 - loads librdkafka
    from lmdp.receive.server import receiving  # noqa: PLC0415 - loads uvicorn

    settings = receiver_settings(KafkaAccess(""), topic, given)
    if faults := settings.faults():
        raise SettingsError.of(faults)
    return lambda access, notify, stop: receiving(replace(settings, access=access), notify, stop)


def _workers(given: int | None) -> int:
    return min(cores(), _MOST_WORKERS) if given is None else given


def _rejects(place: str | None) -> "RejectPlace | None":
    """Return the place of rejects outside of the warehouse. Raises SettingsError."""
    if not place:
        return None
    if place.startswith("s3://"):
        from lmdp.replay.bucket import reject_place  # noqa: PLC0415 - botocore is loaded when needed

        return reject_place(place, os.environ.get("AWS_REGION") or None)
    from lmdp.support.reject_files import reject_folder  # noqa: PLC0415 - loaded when needed

    return reject_folder(Path(place))


def _snowflake(spec: "Spec", rejects: str, *, shared: bool) -> tuple["OpenStore", "Spec"]:
    """Return what opens Snowflake as the store, and the specification with its keys. Raises SettingsError."""
    from lmdp.core.column_names import styled  # noqa: PLC0415 - as above
    from lmdp.snowflake.streaming.settings import WriterSettings  # noqa: PLC0415 - as above
    from lmdp.snowflake.streaming.store import opening  # noqa: PLC0415 - as above
    from lmdp.sql.settings import SnowflakeSettings  # noqa: PLC0415 - as above

    settings = WriterSettings.from_env(os.environ, SnowflakeSettings.from_env(os.environ))
    return opening(settings, rejects, shared=shared), styled(spec, settings.identifiers)


def _run(settings: "MachineSettings", log: "RunLog") -> dict[str, Any]:
    from lmdp.machine import services  # noqa: PLC0415 - as above

    stop = threading.Event()
    with stopped_by_signals(stop), log.watching() as watch:
        return services.run(settings, log, watch, stop)
