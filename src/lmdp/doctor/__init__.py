"""Checks of this machine and of the cloud, each with the command that fixes what is wrong. They change nothing."""
