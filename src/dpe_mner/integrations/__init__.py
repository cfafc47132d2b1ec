"""Other libraries' own ways of calling a model."""
