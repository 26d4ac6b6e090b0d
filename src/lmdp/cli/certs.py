"""`lmdp certs`: a development CA and the certificates that it signs, or real ones from AWS Private CA."""

import datetime as dt
import json
from typing import TYPE_CHECKING, Annotated

import typer

from lmdp.cli.options import DEFAULT_HOME, Home, Json, option
from lmdp.errors import SettingsError

if TYPE_CHECKING:
    from lmdp.certificates.development_ca import Certificate


def certs(
    *,
    home: Home = DEFAULT_HOME,
    client: Annotated[
        str | None, option("--client NAME", "Also issue a client certificate with this name (its CN).")
    ] = None,
    private_ca: Annotated[
        str | None,
        option(
            "--private-ca ARN",
            "Issue from this AWS Private CA instead: with --client NAME into --home, or with --secret.",
        ),
    ] = None,
    secret: Annotated[
        str | None, option("--secret NAME", "Write certificate and key into this secret, as MSK's clients read.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a development CA, and the server and client certificates of the embedded Kafka.

    Existing files are left as they are; a certificate that expires within 30 days is renewed; a CA is never replaced.
    Keys are readable by you alone.

    With --private-ca, one client certificate of AWS Private CA is issued or renewed by the same rule.

    Example: lmdp certs --client collector-1

    Example: lmdp certs --private-ca arn:aws:acm-pca:… --client lmdp-pipe --secret lmdp-prod/kafka-client
    """
    if secret and not (private_ca and client):
        raise SettingsError("--secret needs --private-ca ARN and --client NAME: the certificate to write there.")
    if private_ca:
        if not client:
            raise SettingsError("--private-ca needs --client NAME: the name (CN) of the certificate.")
        typer.echo(_from_private_ca(private_ca, client, secret, home, as_json=as_json))
        return
    from lmdp.certificates.development_ca import make, make_client  # noqa: PLC0415 - loads cryptography
    from lmdp.machine.data_dir import make_home  # noqa: PLC0415 - as above

    make_home(home)
    folder = home / "certs"
    extra = make_client(folder, client) if client else None
    found = make(folder).all()
    listed = [extra if extra and extra.name == one.name else one for one in found]
    typer.echo(json.dumps([_object(one) for one in listed], indent=2) if as_json else _table(listed))


def _from_private_ca(arn: str, name: str, secret: str | None, home: Home, *, as_json: bool) -> str:
    from lmdp.certificates import private_ca  # noqa: PLC0415 - loads boto3
    from lmdp.certificates.development_ca import RENEW_DAYS  # noqa: PLC0415 - as above
    from lmdp.machine.data_dir import make_home  # noqa: PLC0415 - as above

    now = dt.datetime.now(dt.UTC)
    if secret is None:
        make_home(home)
        folder = home / "certs" / "private-ca"
        found = private_ca.good_files(folder, name, now=now)
        found = found or private_ca.write_files(folder, name, private_ca.issue(arn, name))
        return json.dumps([_object(found)], indent=2) if as_json else _table([found])
    ends = private_ca.secret_ends(secret)
    made = ends is None or ends - now < dt.timedelta(days=RENEW_DAYS)
    if made:
        issued = private_ca.issue(arn, name)
        private_ca.write_secret(secret, issued)
        ends = issued.ends
    assert ends is not None
    if as_json:
        return json.dumps([{"name": name, "secret": secret, "ends": ends.isoformat(), "made": made}], indent=2)
    return f"{name}  {'made' if made else 'kept'}  expires {ends:%Y-%m-%d}  secret {secret}"


def _object(one: "Certificate") -> dict[str, object]:
    return {
        "name": one.name,
        "principal": one.principal,
        "cert": str(one.cert),
        "key": str(one.key),
        "ends": one.ends.isoformat(),
        "made": one.made,
    }


def _table(listed: "list[Certificate]") -> str:
    width = max(len(one.name) for one in listed)
    return "\n".join(
        f"{one.name:{width}}  {'made' if one.made else 'kept'}  expires {one.ends:%Y-%m-%d}  {one.cert}  "
        f"{one.principal}"
        for one in listed
    )
