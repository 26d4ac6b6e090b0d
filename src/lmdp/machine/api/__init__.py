"""The run's API on a Unix socket: server, client, formats."""
