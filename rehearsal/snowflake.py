"""The Snowflake account of the rehearsal: fakesnow behind TLS, where only registered keys sign in.

The account's own address is used, `….snowflakecomputing.com`: HTTPS_PROXY leads there, as a company's proxy would, and
the certificate is of a CA of this rehearsal. So the setup function's zip, the command line and Firehose's stand-in each
sign in with the real connector, over TLS, with the key pair that a secret holds. The function that writes straight to
Snowflake finds the double of Snowpipe Streaming at the same address, and its rows come into the same tables.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import functools
import gzip
import http.server
import json
import logging
import socket
import ssl
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
import uuid
import warnings
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
import uvicorn
import zstandard
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import snowflake_double
from lmdp.snowflake.connection import Access, connected, der
from lmdp.testing.snowpipe import snowpipe_double
from snowflake_double import Account

DOMAIN: Final = ".snowflakecomputing.com"
_LOGIN: Final = "/session/v1/login-request"
# https://docs.snowflake.com/en/user-guide/key-pair-auth-troubleshooting
_REFUSED: Final = {
    "code": "390144",
    "message": "JWT token is invalid.",
    "success": False,
    "data": {"nextAction": "RETRY"},
}
_CHUNK: Final = 65_536


@dataclass(slots=True)
class Double:
    """The running account: `environment` is what a program needs to reach it; `faults` are failed deliveries."""

    account: Account
    environment: dict[str, str]
    delivery: str
    faults: list[str] = field(default_factory=list)

    def administer(self, sql: str) -> None:
        """Run statements as an ACCOUNTADMIN in a worksheet would."""
        shared = sys.modules["fakesnow.server"].shared_fs
        cursor = shared.connect("WORKSHEET", "PUBLIC").cursor()
        for text in sql.split(";\n"):
            statement = "\n".join(line for line in text.splitlines() if not line.startswith("--")).strip(" \n;")
            if statement:
                cursor.execute(statement)
        for database in (word.rstrip(";") for word in sql.split() if word.startswith("LM_METRICS")):
            if database.isidentifier():
                for macro in snowflake_double._macros(database):
                    shared.duck_conn.execute(macro.replace("CREATE MACRO", "CREATE OR REPLACE MACRO"))

    def rows(self, place: str) -> list[dict[str, Any]]:
        """The landing table of `place`, database and schema."""
        cursor = sys.modules["fakesnow.server"].shared_fs.connect("WORKSHEET", "PUBLIC").cursor()
        cursor.execute(f"SELECT * FROM {place}.ROW_EVENTS")
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@contextlib.contextmanager
def opened(folder: Path, client: Callable[[str], Any]) -> Iterator[Double]:
    """Start it, with its files in `folder`; `client` makes an AWS client, for the stream that a row comes through."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        keys: dict[str, dict[str, str]] = {}
        server = sys.modules.get("fakesnow.server") or __import__("fakesnow.server", fromlist=["app"])
        streaming = stack.enter_context(snowpipe_double())
        patch.setattr(server, "app", _Front(server.app, keys, streaming.url))
        # Without its own log, only warnings are printed.
        patch.setattr(uvicorn, "Config", functools.partial(uvicorn.Config, log_config=None))
        warnings.filterwarnings("ignore", message="Arrow output on a DB-API")  # fakesnow's own
        logging.getLogger("sqlglot").setLevel(logging.ERROR)
        account = stack.enter_context(snowflake_double.served(patch, "WORKSHEET", "PUBLIC"))
        account.keys = keys
        authority, context = _certificate(folder)
        target = urllib.parse.urlsplit(account.url)
        proxy = stack.enter_context(_listening(_proxy(context, (target.hostname or "", target.port or 0))))
        trusted = {"REQUESTS_CA_BUNDLE": str(authority), "SSL_CERT_FILE": str(authority)}
        double = Double(account, {"HTTPS_PROXY": f"http://{proxy}", **trusted}, "")
        post = stack.enter_context(_listening(_delivery(double, client)))
        double.delivery = f"http://{post}/delivery"
        yield double


class _Front:
    """The sign-in: the token is signed with a key that ALTER USER registered for that user, or it is refused."""

    def __init__(self, app: Any, keys: dict[str, dict[str, str]], streaming: str) -> None:
        self.app, self.keys, self.streaming = app, keys, streaming

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        is_streaming = str(scope.get("path")).startswith(("/v2/streaming/", "/oauth/"))
        if scope.get("path") != _LOGIN and not is_streaming:
            await self.app(scope, receive, send)
            return
        body = b""
        while True:
            part = await receive()
            body += part.get("body", b"")
            if not part.get("more_body"):
                break
        if is_streaming:
            status, answer = await asyncio.to_thread(self._stream, scope, body)
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": answer})
            return

        async def again() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        if self._known(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body):
            await self.app(scope, again, send)
            return
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(_REFUSED).encode()})

    def _known(self, body: bytes) -> bool:
        data = json.loads(body)["data"]
        return self._signed(str(data.get("LOGIN_NAME")), data.get("TOKEN", ""))

    def _signed(self, user: str, token: str) -> bool:
        for key in self.keys.get(user.upper(), {}).values():
            with contextlib.suppress(jwt.InvalidTokenError):
                public = f"-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n"
                jwt.decode(token, public, algorithms=["RS256"])
                return True
        return False

    def _stream(self, scope: MutableMapping[str, Any], body: bytes) -> tuple[int, bytes]:
        """Hand a request to the double of Snowpipe Streaming, and put elastic rows into the table of their pipe."""
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if headers.get("x-snowflake-authorization-token-type") == "KEYPAIR_JWT":
            subject = jwt.decode(token, options={"verify_signature": False})["sub"]
            if not self._signed(subject.partition(".")[2], token):
                return 401, b'{"code": "JWT_TOKEN_INVALID"}'
        path = scope["path"]
        given = {name: value for name, value in headers.items() if name not in {"host", "content-length"}}
        url = f"{self.streaming}{path}?{scope['query_string'].decode()}"
        request = urllib.request.Request(url, body or None, given, method=scope["method"])
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
                content: bytes = answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        if path.endswith("/channels/ELASTIC/rows"):
            lines = zstandard.ZstdDecompressor().decompressobj().decompress(body).splitlines()
            names = path.split("/")
            _insert_rows(f"{names[5]}.{names[7]}.ROW_EVENTS", [json.loads(line) for line in lines])
        return 200, headers["host"].encode() if path.endswith("/hostname") else content


def _certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A CA, and a certificate for every account's host. Returns the CA's file and the server's side."""
    now = dt.datetime.now(dt.UTC)

    def made(subject: str, issuer: str, key: Any, signer: Any, extension: x509.ExtensionType) -> bytes:
        name = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (subject, issuer)]
        builder = x509.CertificateBuilder().subject_name(name[0]).issuer_name(name[1]).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).add_extension(extension, critical=True)
        builder = builder.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(days=1))
        return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    signer, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority, pair = folder / "snowflake-ca.pem", folder / "snowflake.pem"
    authority.write_bytes(made("rehearsal", "rehearsal", signer, signer, x509.BasicConstraints(ca=True, path_length=0)))
    hosts = x509.SubjectAlternativeName([x509.DNSName(f"*{DOMAIN}")])
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pair.write_bytes(made("account", "rehearsal", key, signer, hosts) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    return authority, context


@contextlib.contextmanager
def _listening(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, name=handler.__name__, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _proxy(context: ssl.SSLContext, target: tuple[str, int]) -> type[http.server.BaseHTTPRequestHandler]:
    """A proxy that opens the account's hosts alone, and is the account at their end."""

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            """Tunnel to the account; everything else of the Internet is refused."""
            if not self.path.rpartition(":")[0].endswith(DOMAIN):
                self.send_error(403)
                return
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                near = context.wrap_socket(self.connection, server_side=True)
                far = socket.create_connection(target)
                back = threading.Thread(target=_copy, args=(far, near), daemon=True)
                back.start()
                _copy(near, far)
                back.join()
            self.close_connection = True

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    return Proxy


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _delivery(double: Double, client: Callable[[str], Any]) -> type[http.server.BaseHTTPRequestHandler]:
    class Delivery(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Take records as a stream has them."""
            given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            deliver(given["stream"], given["records"], client, double)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    return Delivery


def deliver(stream: str, records: list[str], client: Callable[[str], Any], double: Double) -> None:
    """Put records into the table that the stream names, as the user that its secret names; else into its bucket."""
    described = client("firehose").describe_delivery_stream(DeliveryStreamName=stream)["DeliveryStreamDescription"]
    destination = described["Destinations"][0]["SnowflakeDestinationDescription"]
    try:
        _insert(destination, [json.loads(base64.b64decode(record)) for record in records], client)
    except Exception as error:  # noqa: BLE001 - whatever it is, Firehose keeps the records
        double.faults.append(f"{stream}: {type(error).__name__}: {error}")
        _keep_failed(destination, records, error, client)


def _insert(destination: dict[str, Any], rows: list[dict[str, Any]], client: Callable[[str], Any]) -> None:
    secret = destination["SecretsManagerConfiguration"]["SecretARN"]
    held = json.loads(client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"])
    place = f"{destination['Database']}.{destination['Schema']}"
    access = Access(
        destination["AccountUrl"], held["user"], destination["SnowflakeRoleConfiguration"]["SnowflakeRole"], "",
        der(held["private_key"].encode()), destination["Database"], destination["Schema"],
    )  # fmt: skip
    with connected(access) as connection:
        _insert_rows(f"{place}.{destination['Table']}", rows, connection.cursor())


def _insert_rows(table: str, rows: list[dict[str, Any]], cursor: Any = None) -> None:
    """Insert rows as JSON has them; without a cursor, as the account itself."""
    cursor = cursor or sys.modules["fakesnow.server"].shared_fs.connect("WORKSHEET", "PUBLIC").cursor()
    for row in rows:
        names = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("PARSE_JSON(%s)" if isinstance(value, dict) else "%s" for value in row.values())
        values = [json.dumps(value) if isinstance(value, dict) else value for value in row.values()]
        cursor.execute(f"INSERT INTO {table} ({names}) SELECT {marks}", values)


def _keep_failed(
    destination: dict[str, Any], records: list[str], error: Exception, client: Callable[[str], Any]
) -> None:
    """As Firehose keeps records that failed: one JSON object a line, under the backup's prefix."""
    backup, now = destination["S3DestinationDescription"], dt.datetime.now(dt.UTC)
    failure = {"errorCode": "Snowflake.Refused", "errorMessage": str(error), "attemptsMade": 1}
    lines = "".join(json.dumps({**failure, "rawData": record}) + "\n" for record in records)
    prefix = backup["Prefix"]
    for name, code in (("yyyy", "%Y"), ("MM", "%m"), ("dd", "%d")):
        prefix = prefix.replace(f"!{{timestamp:{name}}}", now.strftime(code))
    client("s3").put_object(
        Bucket=backup["BucketARN"].rpartition(":")[2],
        Key=f"{prefix}{uuid.uuid4()}.gz",
        Body=gzip.compress(lines.encode()),
    )
