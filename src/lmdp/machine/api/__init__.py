"""API of a run on a Unix socket: protocol, server, client, output formats."""
