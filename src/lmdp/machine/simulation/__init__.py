"""Simulated Collectors."""
