"""LogicMonitor Data Publisher's OTLP metrics on Kafka, as queryable rows.

The core: `transform` turns messages into rows and rejects, `encode` turns rows into JSON. It does no I/O.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmdp.core.encode import encode
    from lmdp.core.pipeline import Counts, Message, Transformed, TransformSettings, transform
    from lmdp.core.rejects import Reject

__all__ = ["Counts", "Message", "Reject", "TransformSettings", "Transformed", "encode", "transform"]
_MODULES = {"encode": "encode", "Reject": "rejects"}


def __getattr__(name: str) -> object:
    """Load the core when a public name is used: the help of a command needs none of it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - as the docstring says  # pure: modules of the core alone

    module = import_module(f"lmdp.core.{_MODULES.get(name, 'pipeline')}")  # pure: as above
    return getattr(module, name)
