"""What is watched, part by part of the path."""
