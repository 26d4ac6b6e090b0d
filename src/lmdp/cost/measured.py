"""What `make bench` measured of the function, what was assumed where nothing can be measured, and one vendor's rule."""

from __future__ import annotations

from typing import Final

# "Lambda invocation", 200 x LMDP small, in docs/performance.md: µs of CPU a row.
FUNCTION_CPU_US_A_ROW: Final = 15.8
# Assumed: the calls of one batch go out together.
FIREHOSE_CALL_SECONDS: Final = 0.1
# Assumed: a Lambda vCPU's speed (Graviton) as a part of the measured core's.
LAMBDA_CORE: Final = 1.0
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
MIB_A_VCPU: Final = 1_769
