"""What a stranger types first, from an empty directory."""
