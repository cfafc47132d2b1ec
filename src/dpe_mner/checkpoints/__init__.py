"""Checkpoints: configuration, saving, loading, the hub."""
