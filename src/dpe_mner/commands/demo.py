"""``dpe-mner demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dpe_mner.commands.options import Model, Quiet
from dpe_mner.commands.places import write_text

_SHOWN_STEPS = 3  # more than one, so that there is reasoning to see


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    model: Model = None,
    output: Annotated[Path, typer.Option("--output", help="HTML page of the reasoning steps.")] = Path("demo.html"),
    quiet: Quiet = False,
) -> None:
    """Run the bundled model on bundled posts; no network needed.

    Example: dpe-mner demo --output demo.html
    """
    import dpe_mner
    from dpe_mner.commands.highlight import highlighted
    from dpe_mner.demo import demo_posts
    from dpe_mner.explain.page import explanation_page

    loaded = dpe_mner.load(model)
    posts = demo_posts()
    predictions = loaded.predict(posts, explain=True, steps=_SHOWN_STEPS)
    console = Console()
    if not quiet:
        for post, prediction in zip(posts, predictions, strict=True):
            console.print(highlighted(prediction.text, prediction.entities))
            if post.caption:
                console.print(f"  picture: {post.caption}", style="dim", markup=False, highlight=False)
            console.print()
    page = explanation_page(posts, predictions, title="DPE-MNER: how the entities of each post came about")
    write_text(output, page)
    typer.echo(f"{len(posts)} posts; the reasoning steps are in {output}")
