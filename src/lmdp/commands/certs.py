"""`lmdp certs`: a development CA, and the certificates that it signs."""

import json
from typing import Annotated

import typer

from lmdp.commands.options import DEFAULT_HOME, Home, Json
from lmdp.local.certs import Certificate, make, make_client


def certs(
    *,
    home: Home = DEFAULT_HOME,
    client: Annotated[
        str | None,
        typer.Option("--client", metavar="NAME", help="Also issue a client certificate with this name (its CN)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a development CA, and the server and client certificates of the embedded Kafka.

    What is there stays as it is; a certificate that ends within 30 days is renewed; a CA is never replaced. Keys
    are readable by you alone.

    Example: lmdp certs --client collector-1
    """
    folder = home / "certs"
    extra = make_client(folder, client) if client else None
    found = make(folder).all()
    listed = [extra if extra and extra.name == one.name else one for one in found]
    typer.echo(json.dumps([_object(one) for one in listed], indent=2) if as_json else _table(listed))


def _object(one: Certificate) -> dict[str, object]:
    return {
        "name": one.name,
        "principal": one.principal,
        "cert": str(one.cert),
        "key": str(one.key),
        "ends": one.ends.isoformat(),
        "made": one.made,
    }


def _table(listed: list[Certificate]) -> str:
    width = max(len(one.name) for one in listed)
    return "\n".join(
        f"{one.name:{width}}  {'made' if one.made else 'kept'}  ends {one.ends:%Y-%m-%d}  {one.cert}  {one.principal}"
        for one in listed
    )
