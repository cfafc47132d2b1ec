"""Predict a stream of posts and keep its beginning for the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from dpe_mner.explain.remembering import RememberingSource
from dpe_mner.pages.reasoning import MOST_POSTS, explanation_page
from dpe_mner.pipeline import PredictionOptions
from dpe_mner.predictor import Predictor
from dpe_mner.types import Post, Prediction


class PagedPredictor:
    """Predicts like the predictor it is given, and makes a page of the first posts.

    Args:
        predictor: Left as it is.
        most: Posts on the page; the others are predicted just the same.
    """

    def __init__(self, predictor: Predictor, *, most: int = MOST_POSTS) -> None:
        self.total = 0
        self.most = most
        self._given: list[Post] = []
        self._predictions: list[Prediction] = []
        source = predictor.pictures
        # What the model reads is what the page shows: captions and tags made of pictures too.
        self._remembering = None if source is None else RememberingSource(source, most=most)
        self._predictor = Predictor(predictor.model, predictor.tokenizer, self._remembering)

    def __call__(self, posts: Iterable[Post], options: PredictionOptions) -> Iterator[Prediction]:
        """Explained predictions in input order."""
        for prediction in self._predictor(self._watch(posts), replace(options, explain=True)):
            self.total += 1
            if len(self._predictions) < self.most:
                self._predictions.append(prediction)
            yield prediction

    def _watch(self, posts: Iterable[Post]) -> Iterator[Post]:
        for post in posts:
            if len(self._given) < self.most:
                self._given.append(post)
            yield post

    def html(self, *, title: str, fetch_urls: bool = False) -> str:
        """The page of what was predicted so far."""
        posts = self._given if self._remembering is None else self._remembering.posts
        return explanation_page(
            posts[: len(self._predictions)],
            self._predictions,
            title=title,
            total=self.total,
            fetch_urls=fetch_urls,
        )
