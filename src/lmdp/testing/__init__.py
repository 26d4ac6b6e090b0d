"""The doubles that ship."""
