"""Peers, which a user would pick instead: each makes the same rows, or states what it makes."""
