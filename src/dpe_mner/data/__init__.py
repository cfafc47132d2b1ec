"""Posts from files: formats, tags, words with offsets, checks."""
