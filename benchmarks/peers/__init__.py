"""What a user would pick instead: each makes the same rows, or says what it makes."""
