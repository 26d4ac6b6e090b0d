"""Replay of what failed, through the path again."""
