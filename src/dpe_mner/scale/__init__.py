"""More posts than one process should answer: processes of one machine, and clusters."""
