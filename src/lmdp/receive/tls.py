"""TLS of the receiver, whose files may change while it runs."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from typing import Any

from lmdp.certificates.development_ca import read_certificate
from lmdp.errors import SettingsError
from lmdp.support.opening import read_bytes


class ServerTls:
    """TLS of the server, with files that may be replaced while it runs: the next handshake takes the new ones.

    `ends` is when the certificate in use expires, in Unix seconds.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._seen = self._fingerprint()
        self.context = self._newest = self._made()
        self.ends = self._end()
        self.context.sni_callback = self._choose  # called without a name, too

    def refresh(self) -> str:
        """Take up files that changed; return what an operator should know, or nothing."""
        if (seen := self._fingerprint()) == self._seen:
            return ""
        self._seen = seen
        try:
            self._newest, self.ends = self._made(), self._end()
        except SettingsError as error:
            return f"{error} The previous certificate stays in use."
        return f"{self._cert} has changed: new connections take it"

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._newest

    def _made(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self._cert, self._key, password=_no_password)
            if self._client_ca is not None:
                context.load_verify_locations(self._client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            names = ", ".join(str(path) for path in (self._cert, self._key, self._client_ca) if path)
            raise SettingsError(f"TLS cannot be served with {names}: {error}") from error
        return context

    def _end(self) -> float:
        return read_certificate(self._cert).not_valid_after_utc.timestamp()

    def _fingerprint(self) -> tuple[bytes, ...]:
        found = []
        for path in (self._cert, self._key, self._client_ca):
            with contextlib.suppress(OSError):
                found.append(read_bytes(path) if path is not None else b"")
        return tuple(found)


def common_name(certificate: Any) -> str:
    """Return the common name of a certificate as the ssl module gives it; empty where there is none."""
    parts = [pair for part in (certificate or {}).get("subject", ()) for pair in part]
    return next((value for name, value in parts if name == "commonName"), "")


def _no_password() -> str:
    raise ValueError("the key is encrypted; decrypt it first (openssl pkey)")
