"""Where the time goes, measured beside what a user would pick instead: `python -m benchmarks`."""
