"""Diverse multi-modal fusion (2.3.1): bottom, middle and top layer."""
