"""How long the page of ``dpe-mner serve`` takes until it can be used, in a headless browser on this machine.

    python benchmarks/page_load.py --json page.json

Each visit has a browser context of its own, so that nothing is cached. *usable*: the examples, which the page asks for
last, are there. *answered*: the first of them was clicked and its entities are shown. Needs Playwright and Chromium.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Annotated

import typer


def main(
    visits: Annotated[int, typer.Option(help="How often the page is opened.")] = 5,
    backend: Annotated[str, typer.Option(help="torch or onnx.")] = "torch",
    json_: Annotated[Path | None, typer.Option("--json", help="Write the figures as JSON.")] = None,
) -> None:
    """Print milliseconds of each visit."""
    from playwright.sync_api import sync_playwright
    from serving import service

    found: dict[str, list[float]] = {"usable_ms": [], "answered_ms": []}
    with service(backend) as (host, port, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(visits):
            context = browser.new_context()
            page = context.new_page()
            started = time.perf_counter()
            page.goto(f"http://{host}:{port}/")
            example = page.locator("#examples button").first
            example.wait_for()
            found["usable_ms"].append(round(1000 * (time.perf_counter() - started)))
            started = time.perf_counter()
            example.click()
            page.locator("#status").filter(has_text="found").wait_for()
            found["answered_ms"].append(round(1000 * (time.perf_counter() - started)))
            context.close()
        browser.close()
    typer.echo(json.dumps(found, indent=2))
    if json_ is not None:
        json_.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
