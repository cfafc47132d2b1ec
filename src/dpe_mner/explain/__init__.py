"""Predictions explained on a page."""
