"""Noisy spans: signals, noise process, priorities over time."""
