"""Where a table comes from: command, code, versions, wall time and label hashes."""

from __future__ import annotations

import platform
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from dpe_mner.reproduce.plan import Plan
from dpe_mner.reproduce.results import TableResult
from dpe_mner.version import __version__


def provenance(result: TableResult, plan: Plan, *, command: str) -> dict[str, Any]:
    """What a reader needs to make the table again.

    Args:
        result: The table.
        plan: What was done.
        command: That was typed.
    """
    trained = Counter(run.machine for row in result.rows for run in row.runs if run.machine)
    return {
        "command": command,
        "package_version": __version__,
        "commit": source_commit(),
        "trained_on": dict(sorted(trained.items())),
        "python_version": platform.python_version(),
        "seconds": round(sum(run.seconds for row in result.rows for run in row.runs), 1),
        "valid_sha256": plan.valid.sha256,
        "train_sha256": plan.train.sha256,
    }


def source_commit(package: Path | None = None) -> str | None:
    """The git commit this package's source is at, ``...+changes`` if the source differs from it.

    Args:
        package: Folder of the source; this package's if absent.

    Returns:
        None for an installed package, also where its environment lies inside somebody's repository.
    """
    folder = package or Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        run = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)  # noqa: S607 (git of PATH)
        return run.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        commit = git("rev-parse", "HEAD")
        return f"{commit}+changes" if git("status", "--porcelain", "--", ".") else commit
    except (OSError, subprocess.CalledProcessError):
        return None
