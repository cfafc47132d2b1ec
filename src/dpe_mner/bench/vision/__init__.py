"""The standing benchmark of the mechanisms: tasks that only vision, only a further step, or only H_m can solve."""
