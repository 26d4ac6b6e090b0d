"""Files, streams, signals and child processes: what commands share."""
