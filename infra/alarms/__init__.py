"""Alarms, part by part of the path."""
