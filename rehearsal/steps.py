"""THE ORDER: the steps of docs/deploy.md, and what has to come of each.

`FIRST` is the document's own sequence, word for word; a test compares the two. `SECOND` is another environment in the
same account, at the same time, whose function writes straight to Snowflake, with the mistakes that people make.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from rehearsal.stage import ACCOUNT, HOST, NETWORK, REGION, Outcome, Place

PRELUDE: Final = "set -a; . ./.env; set +a"
"""What is typed before `lmdp` in the document, so that it has the settings of the deployment."""
NOT_REHEARSED: Final = {
    'export LMDP_BOOTSTRAP_SERVERS=$(aws kafka get-bootstrap-brokers --cluster-arn "$LMDP_MSK_CLUSTER_ARN" '
    "--query BootstrapBrokerStringTls --output text)":
        "the emulator has no brokers",
    'lmdp certs --private-ca "$LMDP_PRIVATE_CA_ARN" --client admin':
        "as above; tests/cloud/test_private_ca.py has the files that it writes",
    "export LMDP_KAFKA_CERT=.lmdp/certs/private-ca/admin.pem LMDP_KAFKA_KEY=.lmdp/certs/private-ca/admin.key":
        "as above",
    "lmdp topic create --partitions 12 --replication 3 --retention-hours 24 --max-message-bytes 65536":
        "as above; tests/integration/test_topic_command.py runs it against a real broker",
    "lmdp topic check --partitions 12 --retention-hours 24 --max-message-bytes 65536": "as above",
    "lmdp topic acls --collector collector-1 --reader lmdp-prod --group lmdp-prod-pipe": "as above",
}  # fmt: skip
"""Commands of the document that no step plays, and why."""
_CLUSTER: Final = "11111111-2222-3333-4444-555555555555-1"
_ROWS_SECONDS: Final = 30
_DEVICE: Final = "rehearsed"


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and what it has to do: exit so, print these, and leave what `check` looks at.

    `before` is what is done first, elsewhere; `exits` is the program's code, also where make ends with its own 2;
    `check` returns what is wrong, or nothing. A step without a command is something that happens in AWS.
    """

    name: str
    command: str = ""
    exits: int = 0
    says: tuple[str, ...] = ()
    answer: str = ""
    before: Callable[[Place], None] | None = None
    check: Callable[[Place, Outcome], str] | None = None
    look: str = "the events above; with ARGS='--keep FOLDER', FOLDER/emulator.log has the functions' own errors"
    online: bool = False


def play(step: Step, place: Place) -> tuple[Outcome, str]:
    """Do one step. Returns what its command came to, and what is wrong, in words; empty when nothing is."""
    begun = time.monotonic()
    outcome = Outcome(0, "", 0.0)
    try:
        if step.before:
            step.before(place)
        if step.command:
            command = f"{PRELUDE}; {step.command}" if step.command.startswith("lmdp") else step.command
            outcome = place.run(command, step.answer, online=step.online)
        faults = [] if _exited(outcome, step) else [f"exit code {outcome.code} instead of {step.exits}"]
        faults += [f"does not print: {text}" for text in step.says if text not in outcome.output]
        if step.check and not faults:
            faults += [fault for fault in [step.check(place, outcome)] if fault]
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
        faults = [f"{type(error).__name__}: {error}"]
    return Outcome(outcome.code, outcome.output, time.monotonic() - begun), "; ".join(faults)


def _exited(outcome: Outcome, step: Step) -> bool:
    if step.exits and step.command.startswith("make"):
        return outcome.code == 2 and f"Error {step.exits}" in outcome.output
    return outcome.code == step.exits


def _settings(place: Place, **given: str) -> None:
    place.settings |= given


def configure(place: Place) -> None:
    """Write `.env`, as the document's table of settings has it."""
    place.settings |= {
        "LMDP_ORG_ID": "acme",
        "LMDP_AWS_REGION": REGION,
        "LMDP_AWS_ACCOUNT": ACCOUNT,
        "LMDP_PLANNED_DEVICES": "1000",
        "LMDP_PLANNED_DATAPOINTS": "100",
        "LMDP_PLANNED_MESSAGE_BYTES": "3400",
        "LMDP_MSK_CLUSTER_ARN": f"arn:aws:kafka:{REGION}:{ACCOUNT}:cluster/metrics/{_CLUSTER}",
        "LMDP_PRIVATE_CA_ARN": place.stage.authority,
        "LMDP_COLLECTOR_CIDRS": "10.20.0.0/16",
        "LMDP_CLUSTER_RULES": "true",
        "LMDP_MONTHLY_BUDGET_USD": "2000",
        "LMDP_ALERT_EMAILS": "on-call@example.com",
        "SNOWFLAKE_ACCOUNT_URL": HOST,
        **NETWORK,
    }


def _configure_direct(place: Place) -> None:
    configure(place)
    _settings(place, LMDP_WRITER="snowflake")


def _pasted(place: Place, outcome: Outcome) -> str:
    """An ACCOUNTADMIN runs what the command printed."""
    place.stage.double.administer(outcome.output)
    return ""


def _names_the_commands(place: Place, outcome: Outcome) -> str:
    """Each command that fills a secret is in the message, as the document has it."""
    wanted = [
        shlex.join(shlex.split(_expanded(command, place))) for command in secret_commands(place.names.environment)
    ]
    return "; ".join(f"does not name: {command}" for command in wanted if command not in outcome.output)


def secret_commands(environment: str) -> tuple[str, str, str]:
    """Return the commands that fill the three secrets."""
    prefix, keypair = f"lmdp-{environment}", f"lmdp snowflake keypair --environment {environment}"
    return (
        f"{keypair} --user setup --secret {prefix}/snowflake-setup",
        f"{keypair} --user firehose --secret {prefix}/snowflake-loader",
        f'lmdp certs --private-ca "$LMDP_PRIVATE_CA_ARN" --client {prefix} --secret {prefix}/kafka-client',
    )


def _expanded(command: str, place: Place) -> str:
    return re.sub(r"\$(\w+)", lambda found: place.settings[found[1]], command)


def _table(place: Place) -> str:
    """Database and schema that the stream of this environment names, or the function."""
    if place.settings.get("LMDP_WRITER") == "snowflake":
        function = place.stage.client("lambda").get_function_configuration(FunctionName=place.names.function)
        given = function["Environment"]["Variables"]
        return f"{given['SNOWFLAKE_DATABASE']}.{given['SNOWFLAKE_SCHEMA']}"
    found = place.stage.client("firehose").describe_delivery_stream(DeliveryStreamName=place.names.stream)
    described = found["DeliveryStreamDescription"]["Destinations"][0]["SnowflakeDestinationDescription"]
    return f"{described['Database']}.{described['Schema']}"


def _deployed(place: Place, _outcome: Outcome) -> str:
    """The pipe runs, the alarms are there, and CloudFormation has the templates as they were synthesised."""
    cloudformation = place.stage.client("cloudformation")
    for file in sorted(place.checkout.glob(f"cdk.out/{place.names.environment}/{place.names.prefix}-*.template.json")):
        stack = file.name.removesuffix(".template.json")
        if cloudformation.get_template(StackName=stack)["TemplateBody"] != json.loads(file.read_text("utf-8")):
            return f"the template of {stack} is not the one that was synthesised"
    pipe = place.stage.client("pipes").describe_pipe(Name=place.names.pipe)
    alarms = place.stage.client("cloudwatch").describe_alarms(AlarmNamePrefix=place.names.prefix + "-")["MetricAlarms"]
    if pipe["CurrentState"] != "RUNNING":
        return f"the pipe is {pipe['CurrentState']}"
    return "" if len(alarms) > 30 else f"{len(alarms)} alarms"


def _message(device: str, now_ms: int) -> bytes:
    """A bundle of one gauge with two datapoints."""

    def text(key: str, value: str) -> dict[str, Any]:
        return {"key": key, "value": {"stringValue": value}}

    points = [
        {
            "timeUnixNano": str(now_ms * 1_000_000),
            "asDouble": 42.5,
            "attributes": [text("dataSourceInstanceName", name)],
        }
        for name in ("cpu-0", "cpu-1")
    ]
    metric = {"name": "CPUBusyPercent", "unit": "%", "gauge": {"dataPoints": points}}
    resource = {"attributes": [text("hostId", device), text("hostName", f"{device}.example.com")]}
    scopes = [{"scope": {"name": "CPU"}, "metrics": [metric]}]
    return json.dumps({"resourceMetrics": [{"resource": resource, "scopeMetrics": scopes}]}).encode()


def _rows_arrive(place: Place, _outcome: Outcome) -> str:
    """Hand the function two messages as a pipe does: one becomes two rows in Snowflake, one a reject in S3."""
    now_ms = int(time.time() * 1000)
    device = f"{_DEVICE}-{place.names.environment}-{now_ms}"
    event = [
        {
            "eventSource": "aws:kafka", "eventSourceArn": place.settings["LMDP_MSK_CLUSTER_ARN"],
            "eventSourceKey": "lm.metrics.otlp-0", "topic": "lm.metrics.otlp", "partition": 0, "offset": offset,
            "timestamp": now_ms, "timestampType": "CREATE_TIME", "headers": [], "value": b64encode(value).decode(),
        }
        for offset, value in enumerate((_message(device, now_ms), b"no bundle"))
    ]  # fmt: skip
    called = place.stage.client("lambda").invoke(FunctionName=place.names.function, Payload=json.dumps(event).encode())
    answer = called["Payload"].read().decode()
    if called.get("FunctionError"):
        return f"the function failed: {answer}"
    where, found = _table(place), 0
    ends = time.monotonic() + _ROWS_SECONDS
    while found < 2 and time.monotonic() < ends:
        found = sum(row["deviceId"] == device for row in place.stage.double.rows(where))
        time.sleep(0.5)
    rejects = place.stage.client("s3").list_objects_v2(Bucket=place.names.error_bucket, Prefix="rejects/")
    faults = [f"{found} of 2 rows in {where}"] if found != 2 else []
    return "; ".join(
        faults + ([] if rejects.get("Contents") else ["no reject in the bucket"]) + place.stage.double.faults
    )


def _watched(place: Place, _outcome: Outcome) -> str:
    """The watcher finds everything that it looks for."""
    called = place.stage.client("lambda").invoke(FunctionName=place.names.watcher_function, Payload=b"{}")
    found = json.loads(called["Payload"].read())
    least = {"PipeRunning": 1, "CertificateDaysLeft": 360, "LoaderKeyDaysLeft": 360, "SetupKeyDaysLeft": 360,
             "CaDaysLeft": 360, "CanaryAgeHours": 0}  # fmt: skip
    wrong = {name: found.get(name) for name, value in least.items() if float(found.get(name, -1)) < value}
    return f"the watcher found {found}; wrong: {wrong}" if wrong else ""


def _memory(place: Place, outcome: Outcome) -> str:
    """The function has what the setting says."""
    found = place.stage.client("lambda").get_function_configuration(FunctionName=place.names.function)["MemorySize"]
    wanted = int(place.settings["LMDP_FUNCTION_MEMORY_MIB"])
    return _deployed(place, outcome) if found == wanted else f"the function has {found} MiB instead of {wanted}"


def _destroyed(place: Place, _outcome: Outcome) -> str:
    """The path is gone; bucket and secrets are there."""
    pages = place.stage.client("cloudformation").get_paginator("describe_stacks").paginate()
    path = {place.names.stack(stack) for stack in ("snowflake-setup", "delivery", "network", "pipe", "alarms")}
    left = [stack["StackName"] for page in pages for stack in page["Stacks"] if stack["StackName"] in path]
    place.stage.client("s3").head_bucket(Bucket=place.names.error_bucket)
    for what in ("snowflake-loader", "snowflake-setup", "kafka-client"):
        place.stage.client("secretsmanager").get_secret_value(SecretId=place.names.secret(what))
    return f"left: {', '.join(left)}" if left else ""


def _apart(first: str) -> Callable[[Place, Outcome], str]:
    """Rows of this environment are in its own table alone."""

    def check(place: Place, outcome: Outcome) -> str:
        wrong = _rows_arrive(place, outcome)
        mine = f"{_DEVICE}-{place.names.environment}-"
        strangers = [row["deviceId"] for row in place.stage.double.rows(_table(place))]
        others = [device for device in strangers if device.startswith(_DEVICE) and not device.startswith(mine)]
        return wrong or (f"rows of {first} are in the table, too: {others}" if others else "")

    return check


def _wrong_shape(place: Place) -> None:
    """Put a key with PEM's first and last line into the loader's secret, as people do."""
    text = json.dumps(
        {"user": "LM_FIREHOSE_SVC", "private_key": "-----BEGIN PRIVATE KEY-----\nMIIE\n"}
    )  # pragma: allowlist secret
    place.stage.client("secretsmanager").put_secret_value(
        SecretId=place.names.secret("snowflake-loader"), SecretString=text
    )


def _forget_tenant(place: Place) -> None:
    configure(place)
    del place.settings["LMDP_ORG_ID"]


_SETUP, _LOADER, _KAFKA = secret_commands("prod")
_ROWS: Final = "the secret and the table that the stream names, the error bucket; tests/aws has the function alone"

BUILD: Final = (
    Step(
        "build the functions",
        "make build",
        says=("handler.zip", "snowflake_setup.zip"),
        online=True,
        look="tools/build_lambda.py; the index of packages has to be reachable",
    ),
    Step("synthesise the example", "make synth", online=True),
)

FIRST: Final = (
    Step("bootstrap", "make bootstrap ENVIRONMENT=prod", answer="prod\n", before=configure, says=("bootstrapped",)),
    Step("diff", "make diff ENVIRONMENT=prod", says=("AWS::Pipes::Pipe",)),
    Step(
        "deploy, to the empty secrets", "make deploy ENVIRONMENT=prod", exits=1, answer="prod\n",
        says=("a secret is not ready",), check=_names_the_commands,
    ),
    Step("Snowflake's roles and users", "lmdp snowflake ddl --bootstrap --environment prod", check=_pasted),
    Step("the setup owner's key", _SETUP, says=("ALTER USER",), check=_pasted),
    Step("Firehose's key", _LOADER, says=("ALTER USER",), check=_pasted),
    Step("the pipe's certificate", _KAFKA),
    Step(
        "deploy, past the canary to the topic", "make deploy ENVIRONMENT=prod", exits=1, answer="prod\n",
        says=("A canary row landed.", "lmdp topic check"),
    ),
    Step("deploy, to the end", "make deploy ENVIRONMENT=prod TOPIC_CHECKED=1", answer="prod\n", check=_deployed),
    Step("messages become rows and rejects", check=_rows_arrive, look=_ROWS),
    Step(
        "status",
        "make status ENVIRONMENT=prod",
        says=("lmdp-prod: RUNNING", "canary landed, tables refreshed and tasks run: 20"),
    ),
    Step("the watcher", check=_watched, look="infra/watcher/watcher.py"),
    Step("canary", "make canary ENVIRONMENT=prod", says=("A canary row landed.",)),
    Step(
        "update", "make deploy ENVIRONMENT=prod TOPIC_CHECKED=1", answer="prod\n", check=_memory,
        before=lambda place: _settings(place, LMDP_FUNCTION_MEMORY_MIB="1536", LMDP_TERMINATION_PROTECTION="false"),
    ),
    Step("destroy", "make destroy ENVIRONMENT=prod", answer="prod\n", says=("Kept:",), check=_destroyed),
    Step("deploy again", "make deploy ENVIRONMENT=prod TOPIC_CHECKED=1", answer="prod\n", check=_deployed),
    Step("messages become rows again", check=_rows_arrive, look=_ROWS),
)  # fmt: skip

_DEV_SETUP, _DEV_LOADER, _DEV_KAFKA = secret_commands("dev")
_DEV_DEPLOY: Final = "make deploy ENVIRONMENT=dev TOPIC_CHECKED=1 YES=1"

SECOND: Final = (
    Step(
        "a setting is missing", "make bootstrap ENVIRONMENT=dev YES=1", exits=2, before=_forget_tenant,
        says=("LMDP_ORG_ID is not set",),
    ),
    Step("bootstrap, without Firehose", "make bootstrap ENVIRONMENT=dev YES=1", before=_configure_direct,
         says=("bootstrapped",)),
    Step("deploy, to the empty secrets", _DEV_DEPLOY, exits=1, says=("a secret is not ready",)),
    Step("Snowflake's roles and users", "lmdp snowflake ddl --bootstrap --environment dev", check=_pasted),
    Step("a key that nobody registers", _DEV_SETUP, says=("ALTER USER",)),
    Step("the pipe's certificate", _DEV_KAFKA),
    Step(
        "a secret of the wrong shape", _DEV_DEPLOY, exits=1, before=_wrong_shape,
        says=("snowflake-loader has no `private_key`",),
    ),
    Step("Firehose's key", _DEV_LOADER, says=("ALTER USER",), check=_pasted),
    Step("a stack is left half-made", _DEV_DEPLOY, exits=1, says=("Snowflake knows no such key of",)),
    Step("register the key", f"{_DEV_SETUP} --show", says=("ALTER USER",), check=_pasted),
    Step("deploy again, to the end", _DEV_DEPLOY, check=_deployed),
    Step("its rows are in its own table", check=_apart("prod"), look=_ROWS),
)  # fmt: skip
