"""From a message's bytes to rows and rejects: no I/O, no clock, no vendor."""
