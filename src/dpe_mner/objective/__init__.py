"""Matching and losses (2.4)."""
