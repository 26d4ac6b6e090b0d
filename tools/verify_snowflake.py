"""Check what stands in Snowflake: the same as `lmdp snowflake verify`, for one who looks in tools/."""

from __future__ import annotations

import sys

from lmdp.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["snowflake", "verify"]
    main()
