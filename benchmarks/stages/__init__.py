"""The stages of the path, each measured beside its floor and its peers."""
