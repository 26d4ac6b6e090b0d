"""Facts of a deployment that the tools, the stacks and the program share. No vendor, no I/O."""
