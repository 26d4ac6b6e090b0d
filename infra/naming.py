"""The names of one environment; who only looks at a deployment has them without the stacks."""

from __future__ import annotations

from lmdp.deployment.naming import PLACEHOLDER_ACCOUNT, STACKS, Names

__all__ = ["PLACEHOLDER_ACCOUNT", "STACKS", "Names"]
