"""Certificate authorities: for development, and AWS Private CA."""
