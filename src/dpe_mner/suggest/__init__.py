"""Which posts are most worth labelling."""
