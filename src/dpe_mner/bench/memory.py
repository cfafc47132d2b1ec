"""Peak memory of this process."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def peak_process_memory() -> float:
    """Largest resident size so far, in MB.

    On Linux the kernel's `VmHWM` is read: `getrusage` hands a child the peak of the process that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        if found:
            return int(found.group(1)) / 2**10
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
