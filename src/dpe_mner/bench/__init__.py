"""Speed and memory, as ratios to the bare encoder pass in the same run."""
