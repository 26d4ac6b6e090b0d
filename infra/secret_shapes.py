"""What is wrong with a secret's shape; who only looks at a deployment asks the same."""

from __future__ import annotations

from lmdp.deployment.secret_shapes import json_object, kafka_fault, snowflake_fault

__all__ = ["json_object", "kafka_fault", "snowflake_fault"]
