"""Benchmarks of every stage, next to what a user would pick instead: `python -m benchmarks`."""
