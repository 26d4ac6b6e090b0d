"""What is checked: the options and the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

NET_S = 4
"""How long one request over the network may take, in seconds."""


@dataclass(frozen=True, slots=True)
class Context:
    """One machine's settings. `servers` is None for the embedded Kafka of `home`; `environment` names a deployment."""

    home: Path
    warehouse: Path
    env: Mapping[str, str]
    topic: str
    servers: str | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    plaintext: bool = False
    environment: str | None = None
    env_file: Path = Path(".env")
