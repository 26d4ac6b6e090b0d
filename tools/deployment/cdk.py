"""CDK's own command line, pinned in infra/cli, on the assembly of one environment."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from infra.assets import HANDLER_ZIP, ROOT, SETUP_ZIP, STUB_MARK
from infra.settings import Settings
from tools.deployment.runtime import Runtime

from lmdp.deployment.naming import PLACEHOLDER_ACCOUNT
from lmdp.errors import LmdpError, SettingsError

CDK = ("npx", "--prefix", str(ROOT / "infra" / "cli"), "--no-install", "cdk")


def synthesise(settings: Settings, runtime: Runtime) -> None:
    """Write this environment's templates, once, so that what is shown is what is deployed."""
    if settings.names.account == PLACEHOLDER_ACCOUNT:
        raise SettingsError(
            f"The environment {settings.names.environment} has placeholders for ARNs and is never deployed. "
            "Name another one: make deploy ENVIRONMENT=prod, with its settings in .env."
        )
    shutil.rmtree(runtime.cloud, ignore_errors=True)
    env = {"LMDP_ENVIRONMENT": settings.names.environment, "CDK_OUTDIR": str(runtime.cloud)}
    if runtime.run([sys.executable, "-m", "infra.app"], env).returncode:
        raise LmdpError("The stacks cannot be synthesised; see above. Nothing was changed.")


def refuse_stubs(settings: Settings, runtime: Runtime) -> None:
    """Refuse templates of this environment with the stub in them: the stub runs nothing."""
    templates = sorted(runtime.cloud.glob(f"{settings.names.prefix}-*.template.json"))
    if not templates:
        raise LmdpError(f"There is no template of {settings.names.prefix} in {runtime.cloud}. Nothing was changed.")
    stubs = [file.name for file in templates if STUB_MARK in file.read_text("utf-8")]
    missing = [zip_file.name for zip_file in (HANDLER_ZIP, SETUP_ZIP) if not zip_file.exists()]
    if stubs:
        raise LmdpError(
            f"{', '.join(missing or stubs)}: not built. Run make build, then deploy again. Nothing was changed."
        )


def cdk(settings: Settings, runtime: Runtime, verb: str, stacks: Sequence[str]) -> None:
    """`diff` or `deploy` these stacks alone, as they were synthesised."""
    never = ["--require-approval", "never"] if verb == "deploy" else []
    run_cdk(settings, runtime, [verb, *map(settings.names.stack, stacks), "--exclusively", *never])


def run_cdk(settings: Settings, runtime: Runtime, arguments: Sequence[str]) -> None:
    """Run one command of CDK with this environment's assembly and toolkit stack."""
    where = ["--app", str(runtime.cloud), "--toolkit-stack-name", settings.names.toolkit_stack]
    if runtime.run([*CDK, *arguments, *where], {}).returncode:
        raise LmdpError(
            f"cdk {arguments[0]} failed; see above. A stack that failed went back to what it was. "
            "Fix what it reports, and repeat the command: what is done stays done."
        )
