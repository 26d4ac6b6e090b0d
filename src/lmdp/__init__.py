"""LogicMonitor Data Publisher's OTLP metrics on Kafka, as rows that people query.

The core: `transform` turns messages into rows and rejects, `encode` turns rows into JSON. It does no I/O.
"""

from lmdp.core.encode import encode
from lmdp.core.pipeline import Counts, Message, Transformed, TransformSettings, transform
from lmdp.core.rejects import Reject

__all__ = ["Counts", "Message", "Reject", "TransformSettings", "Transformed", "encode", "transform"]
