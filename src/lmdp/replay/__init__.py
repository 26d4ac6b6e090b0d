"""What failed, through the path again."""
