"""All posts of a file asked, their answers read, and everything counted that a reader of the figures must know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from dpe_mner.data.words import words_of
from dpe_mner.errors import InputError
from dpe_mner.llm.asking import Asker, Reply
from dpe_mner.llm.parsing import parse_answer
from dpe_mner.llm.questions import Questions
from dpe_mner.llm.request import Request, Usage
from dpe_mner.types import Post, Prediction


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Of a run, over all its posts.

    Attributes:
        answers: Posts with an answer.
        from_cache: Of them, those that were there already.
        requests: Sent by this call, tries included.
        retries: Of them, further tries.
        unparsable: Answers that were not the JSON asked for.
        cut_off: Answers that ran into a limit of length; most are unparsable too.
        refused: Posts that the endpoint did not want; without entities.
        entities_not_in_text: Listed entities that are no words of the post.
        entities_without_place: Listed more often than the text has them, or over another one.
        unknown_labels: Listed entities with a type that was not asked for.
        without_picture: Posts asked with their text alone, though pictures or captions were to be shown.
    """

    answers: int = 0
    from_cache: int = 0
    requests: int = 0
    retries: int = 0
    unparsable: int = 0
    cut_off: int = 0
    refused: int = 0
    entities_not_in_text: int = 0
    entities_without_place: int = 0
    unknown_labels: int = 0
    without_picture: int = 0

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Result:
    """A run that came to its end.

    Attributes:
        predictions: Of every post, in order.
        counts: What there was.
        used: Tokens of all answers, also of those that were there already.
        spent: Tokens of this call.
        snapshots: Models that answered, as the endpoint names them, and how often.
    """

    predictions: list[Prediction]
    counts: Counts
    used: Usage
    spent: Usage
    snapshots: dict[str, int] = field(default_factory=dict)


def ask_posts(
    posts: Sequence[Post], questions: Questions, asker: Asker, *, progress: Callable[[], None] | None = None
) -> Result:
    """Ask for the entities of every post.

    Args:
        posts: In any number.
        questions: How.
        asker: Sends and keeps.
        progress: Called for each post that is done.

    Raises:
        InputError: If not every post could be asked, saying why and how to go on; answers that came are kept.
    """
    missing: dict[int, str] = {}

    def make(number: int) -> Request:
        request, warning = questions.request(posts[number])
        if warning:
            missing[number] = warning
        return request

    asked = asker.ask(make, len(posts), progress=progress)
    replies = [reply for reply in asked.replies if reply is not None]
    answered = sum(reply.answer is not None for reply in replies)
    failed = [reply.failed for reply in replies if reply.failed]
    if asked.stopped or failed or (posts and not answered):
        why = asked.stopped or (
            f"{len(failed)} posts have no answer after {asker.pace.retries} further tries, the first one: {failed[0]}"
            if failed
            else f"no post was answered, the first one: {replies[0].refused}"
        )
        kept = f"{answered} of {len(posts)} posts are answered"
        kept += f" and their answers kept in {asker.cache.folder}" if answered else ""
        raise InputError(f"{why}; {kept}; the same command goes on with the others")
    counted: Counter[str] = Counter(without_picture=len(missing))
    predictions = []
    used, snapshots = Usage(), Counter[str]()
    for number, (post, reply) in enumerate(zip(posts, replies, strict=True)):
        warnings = [missing[number]] if number in missing else []
        predictions.append(_prediction(post, reply, questions.prompt.labels, counted, warnings))
        if reply.answer is not None:
            used += reply.answer.usage or Usage()
            snapshots[reply.answer.model] += 1
    counts = Counts(
        answers=answered,
        from_cache=sum(reply.cached for reply in replies),
        requests=asked.requests,
        retries=asked.retries,
        **counted,
    )
    return Result(predictions=predictions, counts=counts, used=used, spent=asked.spent, snapshots=dict(snapshots))


def _prediction(
    post: Post, reply: Reply, labels: Sequence[str], counted: Counter[str], warnings: list[str]
) -> Prediction:
    """The entities of an answer; what of it was left out is counted and told."""
    words = words_of(post)
    if reply.answer is None:
        counted["refused"] += 1
        return Prediction(post.id, words.text, [], warnings=[*warnings, f"refused by the endpoint: {reply.refused}"])
    answer = reply.answer
    if answer.finish_reason == "length":
        counted["cut_off"] += 1
    parsed = parse_answer(answer.content, words, labels)
    if not parsed.readable:
        counted["unparsable"] += 1
        how = "was cut off" if answer.finish_reason == "length" else "is not the JSON asked for"
        return Prediction(post.id, words.text, [], warnings=[*warnings, f"the answer {how}; read as no entities"])
    dropped = {
        "entities_not_in_text": (parsed.not_in_text, "not in the text"),
        "entities_without_place": (parsed.no_place, "listed too often or over another one"),
        "unknown_labels": (parsed.unknown_labels, "of an unknown type"),
    }
    for name, (count, told) in dropped.items():
        counted[name] += count
        if count:
            warnings = [*warnings, f"{count} listed entities left out: {told}"]
    return Prediction(post.id, words.text, parsed.entities, warnings=warnings)
