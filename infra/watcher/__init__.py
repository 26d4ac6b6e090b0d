"""A function of its own: one file, which uses what Lambda's runtime brings."""
