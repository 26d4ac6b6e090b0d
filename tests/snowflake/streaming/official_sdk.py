"""The official SDK's part of its test, run in an environment of its own; prints what it found as JSON."""

import json
import sys

from snowflake.ingest.streaming import StreamingIngestClient  # type: ignore[import-not-found, import-untyped, unused-ignore]  # not in ours

properties = json.loads(sys.argv[1])
rows = [{"orgId": "acme", "n": n} for n in range(3)]
client = StreamingIngestClient.from_table("lmdp", "DB", "SCH", "ROW_EVENTS", properties=properties)
channel, opened = client.open_channel("c.0")
channel.append_rows(rows[:2], "0", "1")
channel.append_row(rows[2], "2")
channel.initiate_flush()
channel.wait_for_commit(lambda token: token == "2", timeout_seconds=30)
status = channel.get_channel_status()
found = {
    "opened": opened.latest_committed_offset_token,
    "committed": channel.get_latest_committed_offset_token(),
    "inserted": status.rows_inserted_count,
    "errors": status.rows_error_count,
}
elastic = client.get_elastic_channel()
elastic.append_rows_with_wait([{"orgId": "elastic", "n": 3}], "e").result(30)
channel.close()
again, found_again = client.open_channel("c.0")
found["reopened"] = found_again.latest_committed_offset_token
again.close(drop=True)
client.close()
sys.stderr.write("RESULT " + json.dumps(found) + "\n")
