"""``dpe-mner demo``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dpe_mner.commands.options import Model, Quiet
from dpe_mner.commands.places import check_place, write_text
from dpe_mner.data.words import words_of
from dpe_mner.errors import needs_torch
from dpe_mner.types import Entity, Post

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
    check_place("--output", output, others=[model])
    import dpe_mner
    from dpe_mner.data.demo import demo_credits, demo_posts

    loaded = dpe_mner.load(model)
    reads_pictures = getattr(loaded, "pictures", None) is not None
    posts = demo_posts(pictures=reads_pictures)  # else each would come with a warning; the page says it once a picture
    if isinstance(loaded, dpe_mner.OnnxModel):
        _show(posts, loaded.predict(posts), quiet=quiet)
        typer.echo(f"{len(posts)} posts; {needs_torch('the page of the reasoning steps')}")
        return
    predictions = loaded.predict(posts, explain=True, steps=_SHOWN_STEPS)
    _show(posts, [prediction.entities for prediction in predictions], quiet=quiet)
    from dpe_mner.pages.reasoning import explanation_page

    title = "DPE-MNER: how the entities of each post came about"
    page = explanation_page(demo_posts(), predictions, title=title, credits=demo_credits())
    write_text(output, page)
    typer.echo(f"{len(posts)} posts; the reasoning steps are in {output}")


def _show(posts: Sequence[Post], found: Sequence[Sequence[Entity]], *, quiet: bool) -> None:
    from dpe_mner.commands.highlight import highlighted

    console = Console(quiet=quiet)
    for post, entities in zip(posts, found, strict=True):
        console.print(highlighted(words_of(post).text, entities))
        if post.caption:
            console.print(f"  picture: {post.caption}", style="dim", markup=False, highlight=False)
        console.print()
