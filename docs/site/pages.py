"""What the site has besides the pages of this folder: those that lie elsewhere in the repository.

Links are written for a reader of the repository. On the site a link to a page that is part of it leads there, and one
to any other file of the repository stays as its name alone.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
MOVED = {
    "README.md": "index.md",
    "results/README.md": "results.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "measurements.md",
}
_LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie elsewhere."""
    for place, name in MOVED.items():
        text = (ROOT / place).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=for_site(text, (ROOT / place).parent)))
    for path in sorted((ROOT / "docs" / "images").rglob("*")):  # README shows some of them under their full path
        if path.is_file() and files.get_file_from_path(f"docs/images/{path.name}") is None:
            files.append(File.generated(config, f"docs/images/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Mend the links of a page of this folder."""
    if page.file.src_uri in MOVED.values():
        return markdown
    return for_site(markdown, (ROOT / "docs" / page.file.src_uri).parent)


def for_site(text: str, folder: Path) -> str:
    """A page's text with its links as the site has them.

    Args:
        text: As it lies in the repository.
        folder: Where it lies.
    """

    def mended(found: re.Match[str]) -> str:
        label, target = found.groups()
        place, hash_, anchor = target.partition("#")
        if re.match(r"\w+:", target) or not place:
            return found.group()
        path = (folder / place).resolve()
        inside = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
        if inside in MOVED:
            return f"[{label}]({MOVED[inside]}{hash_}{anchor})"
        if inside.startswith("docs/"):
            return f"[{label}]({inside.removeprefix('docs/')}{hash_}{anchor})"
        return label

    return _LINK.sub(mended, text)
