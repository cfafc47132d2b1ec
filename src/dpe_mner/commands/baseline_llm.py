"""``dpe-mner baseline llm``."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from dpe_mner.commands.console import Stopped, note, print_report, tell_unused, wants_progress
from dpe_mner.commands.findings import note_dataset, note_problems
from dpe_mner.commands.options import (
    FetchUrls,
    IgnoreLabel,
    Images,
    LabelMap,
    Quiet,
    TagColumn,
    VisualText,
    WordColumn,
)
from dpe_mner.commands.places import check_folder
from dpe_mner.data.columns import Columns
from dpe_mner.data.dataset import Dataset, file_sha256, load_dataset
from dpe_mner.data.labels import LabelRules, parse_label_map
from dpe_mner.errors import InputError, nearest

if TYPE_CHECKING:
    from dpe_mner.llm.ledger import Limits
    from dpe_mner.llm.run import Result

_USUAL = ("PER", "LOC", "ORG", "MISC")


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("llm")(llm)


def llm(
    data: Annotated[Path, typer.Argument(help="CoNLL or JSONL file; scored if it is labelled.")],
    model: Annotated[
        str, typer.Option("--model", help="The model's name at the endpoint; a dated snapshot if it has.")
    ],
    base_url: Annotated[
        str | None,
        typer.Option("--base-url", help="OpenAI-compatible endpoint; OPENAI_BASE_URL, or OpenAI's, if absent."),
    ] = None,
    api_key_env: Annotated[
        str, typer.Option("--api-key-env", help="Environment variable with the key; a local server may need none.")
    ] = "OPENAI_API_KEY",
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder to write; runs/llm/<DATA>-<model> if absent.")
    ] = None,
    shots: Annotated[int, typer.Option("--shots", min=0, help="Solved examples before each post.")] = 0,
    examples: Annotated[Path | None, typer.Option("--examples", help="Labelled file the examples are of.")] = None,
    retrieve: Annotated[
        bool, typer.Option("--retrieve", help="The examples most like each post (TF-IDF), not the same for all.")
    ] = False,
    picture: Annotated[
        str, typer.Option("--picture", metavar="[none|caption|image]", help="What is shown of the picture.")
    ] = "none",
    images: Images = None,
    fetch_urls: FetchUrls = False,
    visual_text: VisualText = None,
    longest_side: Annotated[
        int,
        typer.Option("--longest-side", min=16, help="Of a picture that is sent, in pixels; bigger ones are reduced."),
    ] = 512,
    prompt: Annotated[
        Path | None, typer.Option("--prompt", help="Text file with the instruction; {types} is where the types go.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", help="Types to ask for: PER,LOC; those of the data if absent.")
    ] = None,
    label_map: LabelMap = None,
    ignore_label: IgnoreLabel = None,
    tag_column: TagColumn = None,
    word_column: WordColumn = 1,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, help="0: the likeliest answer.")] = 0.0,
    no_temperature: Annotated[
        bool, typer.Option("--no-temperature", help="Send none, for models that do not take one.")
    ] = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Sent with each request; not sent if absent.")] = None,
    max_answer_tokens: Annotated[
        int | None, typer.Option("--max-answer-tokens", min=1, help="Longest answer (max_tokens); not sent if absent.")
    ] = None,
    body: Annotated[
        list[str] | None,
        typer.Option("--body", metavar="KEY=JSON", help="A further field of each request; may be repeated."),
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Requests under way at once.")] = 8,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds for one answer.")] = 60.0,
    retries: Annotated[int, typer.Option("--retries", min=0, help="Further tries for one answer.")] = 5,
    budget: Annotated[
        float | None, typer.Option("--budget", help="Stop before this call costs more, in the prices' currency.")
    ] = None,
    price_in: Annotated[float | None, typer.Option("--price-in", help="Of a million tokens of requests.")] = None,
    price_out: Annotated[float | None, typer.Option("--price-out", help="Of a million tokens of answers.")] = None,
    max_tokens_total: Annotated[
        int | None, typer.Option("--max-tokens-total", help="Stop before this call uses more tokens.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Folder of kept answers; 'answers' in the output if absent.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Ask a language model for the entities of every post. Stopped, the same command goes on where it was.

    Example: dpe-mner baseline llm valid.txt --model gpt-4-0613 --budget 5 --price-in 30 --price-out 60

    Example: dpe-mner baseline llm valid.txt --model NAME --base-url http://localhost:8000/v1 --picture caption
    """
    from dpe_mner.llm.asking import Asker, Pace
    from dpe_mner.llm.cache import AnswerCache
    from dpe_mner.llm.client import Endpoint
    from dpe_mner.llm.folder import CACHE, metrics_of, prepare_folder, write_run
    from dpe_mner.llm.prompt import Picture, make_prompt
    from dpe_mner.llm.questions import Questions, choose_examples
    from dpe_mner.llm.run import ask_posts

    started = time.monotonic()
    if picture not in get_args(Picture):
        kinds = get_args(Picture)
        raise InputError(f"--picture {picture!r}: one of {', '.join(kinds)}{nearest(picture, kinds)}")
    _check_examples(shots, examples, retrieve)
    limits = _limits(budget, max_tokens_total, price_in, price_out)
    more = _body(body or ())
    folder = output or Path("runs/llm") / f"{data.name.partition('.')[0] or 'posts'}-{_slug(model)}"
    check_folder("--output", folder, others=[data, images, examples, visual_text, prompt])
    endpoint = Endpoint(base_url=base_url, key_name=api_key_env, timeout=timeout)
    rules = LabelRules(parse_label_map(label_map), ignore_label or ())
    columns = Columns(word=word_column, tag=tag_column)
    dataset = load_dataset(data, visual_text=visual_text, images=images, columns=columns, labels=rules)
    pool = _pool(examples, visual_text, columns, rules)
    tell_unused(rules, quiet=quiet)
    labelled = _is_labelled(dataset)
    note_dataset(dataset, labelled=labelled, quiet=quiet)
    asked = _labels(labels, dataset, pool)
    prompted = make_prompt(asked, picture=picture, file=prompt)  # type: ignore[arg-type]
    settings: dict[str, Any] = {
        "model": model,
        "endpoint": endpoint.name,
        "labels": list(asked),
        "label_map": rules.renamed,
        "ignore_labels": sorted(rules.ignored),
        "picture": picture,
        "longest_side": longest_side if picture == "image" else None,
        "visual_text_sha256": file_sha256(str(visual_text)) if picture == "caption" and visual_text else None,
        "shots": shots,
        "retrieve": retrieve,
        "examples_sha256": None if pool is None else pool.sha256,
        "own_prompt": prompted.instruction if prompt is not None else None,
        "temperature": None if no_temperature else temperature,
        "seed": seed,
        "max_answer_tokens": max_answer_tokens,
        "body": more,
    }
    questions = Questions(
        model=model,
        prompt=prompted,
        examples=choose_examples(
            [] if pool is None else pool.posts,
            shots,
            nearest=retrieve,
            generator=random.Random(seed or 0),  # noqa: S311 (no secret)
        ),
        temperature=None if no_temperature else temperature,
        seed=seed,
        max_tokens=max_answer_tokens,
        more=more,
        longest_side=longest_side,
        fetch_urls=fetch_urls,
        endpoint=endpoint.name,
    )
    prepare_folder(folder, settings, dataset.sha256)
    kept = AnswerCache(cache or folder / CACHE)
    asker = Asker(
        endpoint,
        kept,
        pace=Pace(concurrency=concurrency, retries=retries),
        limits=limits,
        generator=random.Random(),  # of waiting times: two clients must not draw the same  # noqa: S311 (no secret)
    )
    try:
        with _progress(len(dataset.posts), quiet=quiet) as progress:
            result = ask_posts(dataset.posts, questions, asker, progress=progress)
    except KeyboardInterrupt as ended:
        told = f"stopped; answers are kept in {kept.folder}; the same command goes on from here"
        raise Stopped(told, getattr(ended, "status", 130)) from None
    report = _report(dataset, result) if labelled else None
    metrics = metrics_of(
        result,
        report,
        settings=settings,
        instruction=prompted.instruction,
        sha256=dataset.sha256,
        seconds=time.monotonic() - started,
        cost=None if limits.prices is None else limits.prices.cost(result.used),
        cost_of_call=None if limits.prices is None else limits.prices.cost(result.spent),
    )
    write_run(folder, result, metrics)
    if report is not None:
        print_report(report, title=f"{data}: {report.posts} posts, {model}, labels {dataset.sha256[:12]}")
    _tell(result, metrics, folder, quiet=quiet)
    lost = note_problems(dataset.problems, quiet=quiet)
    if lost:
        raise InputError(f"{dataset.path}: {len(lost)} lines could not be used; all others are done")


def _check_examples(shots: int, examples: Path | None, retrieve: bool) -> None:
    if shots and examples is None:
        raise InputError(f"--shots {shots} needs a labelled file to take examples of; add --examples FILE")
    if not shots and (examples is not None or retrieve):
        given = "--examples" if examples is not None else "--retrieve"
        raise InputError(f"{given} shows nothing without a number of examples; add --shots K")


def _limits(budget: float | None, tokens: int | None, price_in: float | None, price_out: float | None) -> Limits:
    from dpe_mner.llm.ledger import Limits, Prices

    if (price_in is None) != (price_out is None):
        raise InputError("--price-in and --price-out go together; give both, of a million tokens")
    prices = None if price_in is None or price_out is None else Prices(tokens_in=price_in, tokens_out=price_out)
    return Limits(money=budget, tokens=tokens, prices=prices)


def _body(pairs: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """``["reasoning_effort=low"]`` to a dictionary; what is no JSON is text."""
    more: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InputError(
                f"--body {pair!r}: expected KEY=JSON, e.g. reasoning_effort=low or max_completion_tokens=512"
            )
        if key in {"model", "messages", "stream", "n"}:
            raise InputError(f"--body {pair!r}: {key} is not to be changed")
        try:
            more[key] = json.loads(value)
        except ValueError:
            more[key] = value
    return more


def _slug(model: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-.") or "model"


def _pool(examples: Path | None, visual_text: Path | None, columns: Columns, rules: LabelRules) -> Dataset | None:
    if examples is None:
        return None
    from dpe_mner.evaluation.answers import require_labels

    pool = load_dataset(examples, visual_text=visual_text, columns=columns, labels=rules)
    require_labels(pool)
    return pool


def _is_labelled(dataset: Dataset) -> bool:
    """Whether the file is labelled; half of it is an error, as the figures would be of the other half."""
    from dpe_mner.evaluation.answers import require_labels

    if all(post.entities is None for post in dataset.posts):
        return False
    require_labels(dataset)
    return True


def _labels(given: str | None, dataset: Dataset, pool: Dataset | None) -> tuple[str, ...]:
    from dpe_mner.llm.prompt import in_order

    found = {*dataset.labels, *(pool.labels if pool is not None else ())}
    if given is None:
        return in_order(sorted(found) or _USUAL)
    labels = tuple(dict.fromkeys(label.strip() for label in given.split(",") if label.strip()))
    if not labels:
        raise InputError("--labels: names no type; e.g. --labels PER,LOC,ORG,MISC")
    lacking = sorted(set(dataset.labels) - set(labels))
    if lacking:
        raise InputError(
            f"{dataset.path}: has {', '.join(lacking)}, which --labels does not ask for; "
            "add them, or leave them out of the scores with --ignore-label"
        )
    return labels


@contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """A bar on a terminal; what is given out moves it on."""
    if not wants_progress(quiet):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def _report(dataset: Dataset, result: Result) -> Any:
    from dpe_mner.data.gold import gold_of_posts
    from dpe_mner.evaluation.score import score

    found = [{(e.start, e.end, e.label) for e in prediction.entities} for prediction in result.predictions]
    return score(gold_of_posts(dataset.posts), found)


def _tell(result: Result, metrics: dict[str, Any], folder: Path, *, quiet: bool) -> None:
    """What is behind the figures, and where it all is."""
    counts = result.counts
    cost = "" if metrics["cost"] is None else f", cost {metrics['cost']:.4f} ({metrics['this_call']['cost']:.4f} now)"
    note(
        f"{counts.answers} answers, {counts.from_cache} of them kept from before, {counts.retries} further tries; "
        f"{result.used.tokens_in} tokens in, {result.used.tokens_out} out{cost}",
        quiet=quiet,
    )
    wrong = {
        "answers are not the JSON asked for": counts.unparsable,
        "answers were cut off": counts.cut_off,
        "posts were refused by the endpoint": counts.refused,
        "listed entities are not in the text": counts.entities_not_in_text,
        "listed entities have no place left": counts.entities_without_place,
        "listed entities have an unknown type": counts.unknown_labels,
        "posts were asked without their picture": counts.without_picture,
    }
    told = [f"{count} {what}" for what, count in wrong.items() if count]
    if told:
        note(f"warning: {', '.join(told)}", quiet=quiet)
    note(f"predictions and metrics: {folder}", quiet=quiet)
