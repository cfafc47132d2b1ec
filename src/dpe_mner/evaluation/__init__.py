"""Strict scores."""
