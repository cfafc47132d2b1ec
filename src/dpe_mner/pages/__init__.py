"""Every HTML page and every plot; what they show is computed elsewhere."""
