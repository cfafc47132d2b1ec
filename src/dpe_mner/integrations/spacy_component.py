"""A component of spaCy's pipelines: ``nlp.add_pipe("dpe_mner")``, found by spaCy itself through an entry point.

Without postponed annotations: spaCy reads a factory's arguments from its signature.
"""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.util import minibatch

from dpe_mner.errors import InputError
from dpe_mner.pipeline import PredictionOptions, Predicts
from dpe_mner.types import Post, Prediction

NAME = "dpe_mner"
DEFAULTS = {
    "model": None,
    "backend": "auto",
    "device": None,
    "picture_models": None,
    "steps": None,
    "spans": None,
    "seed": 0,
    "convention": None,
    "batch_size": 32,
    "overwrite_ents": True,
}
_CHECKPOINT = "checkpoint"  # folder of the model inside the component's own
_KEPT = (
    "*.json",
    "*.md",
    "*.txt",
    "*.model",
    "*.safetensors",
    "model.onnx",
)  # of a checkpoint; what training goes on with is not


@dataclass(frozen=True, kw_only=True)
class ComponentOptions:
    """How a component predicts.

    Attributes:
        model: Folder or hub id; the bundled model when not given.
        backend: ``auto``, ``torch`` or ``onnx``, as for :func:`dpe_mner.load`.
        device: ``cpu``, ``cuda``, ...
        picture_models: Where the models lie that read pictures, by kind.
        overwrite_ents: Replace the entities of earlier components; otherwise those stay, and what overlaps one is
            left out.
        prediction: Steps, spans, seed, convention and batch size.
    """

    model: str | None = None
    backend: str = "auto"
    device: str | None = None
    picture_models: dict[str, str] | None = None
    overwrite_ents: bool = True
    prediction: PredictionOptions = field(default_factory=PredictionOptions)


class Component:
    """Sets ``doc.ents`` and ``span._.score``; reads ``doc._.image``, ``doc._.caption`` and ``doc._.tags``.

    What could not be used of a post, a picture that cannot be opened for one, is in ``doc._.dpe_mner_warnings``.

    Args:
        options: How to predict. The model is loaded with the first document.
    """

    def __init__(self, options: ComponentOptions) -> None:
        register_extensions()
        self.options = options
        self._folder: Path | None = None  # of a model that was saved with the pipeline
        self._model: Predicts | None = None

    @property
    def model(self) -> Predicts:
        """The model.

        Raises:
            InputError: If it cannot be loaded.
        """
        if self._model is None:
            from dpe_mner.api import load

            options = self.options
            self._model = load(  # type: ignore[call-overload]
                self._folder or options.model,
                backend=options.backend,
                device=options.device,
                picture_models=options.picture_models,
            )
        assert self._model is not None
        return self._model

    @property
    def labels(self) -> tuple[str, ...]:
        """Entity types; none before the model is loaded, for spaCy asks whenever it looks at its pipeline."""
        return () if self._model is None else tuple(self._model.labels)

    def __call__(self, doc: Doc) -> Doc:
        """Find the entities of one document.

        Raises:
            InputError: If the model cannot be loaded, or something in the document is of another kind.
        """
        return next(self.pipe([doc]))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Find the entities of documents, in order.

        Args:
            stream: Documents.
            batch_size: Documents taken together; of those, posts of like length share a batch of the model.

        Raises:
            InputError: As for one document.
        """
        for docs in minibatch(stream, batch_size):
            found = self.model.predictions([_post(doc) for doc in docs], self.options.prediction)
            for doc, prediction in zip(docs, found, strict=True):
                set_entities(doc, prediction, overwrite=self.options.overwrite_ents)
                yield doc

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Save the model with the pipeline, unless it is the one that comes with the package.

        Raises:
            InputError: If the model is not where its name says.
        """
        from dpe_mner.checkpoints.hub import checkpoint_folder

        if self._folder is None and self.options.model is None:
            return
        source = self._folder or checkpoint_folder(self.options.model or "")
        target = Path(path) / _CHECKPOINT
        if target.exists() and target.samefile(source):
            return
        target.mkdir(parents=True, exist_ok=True)
        for name in sorted({file for pattern in _KEPT for file in source.glob(pattern)}):
            shutil.copyfile(name, target / name.name)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "Component":
        """Take the model that was saved with a pipeline, if there is one."""
        folder = Path(path) / _CHECKPOINT
        if folder.is_dir():
            self._folder, self._model = folder, None
        return self


def set_entities(doc: Doc, prediction: Prediction, *, overwrite: bool = True) -> None:
    """Put what was found into a document; an entity that ends inside a token of spaCy's is the whole token.

    Args:
        doc: Its text is the prediction's.
        prediction: What was found.
        overwrite: Replace the entities that are there.
    """
    kept: list[Span] = [] if overwrite else list(doc.ents)
    taken = {token.i for span in kept for token in span}
    for entity in sorted(prediction.entities, key=lambda entity: -entity.score):
        span = doc.char_span(entity.start, entity.end, label=entity.label, alignment_mode="expand")
        if span is None or taken & set(range(span.start, span.end)):
            continue
        taken |= set(range(span.start, span.end))
        span._.score = entity.score
        kept.append(span)
    doc.set_ents(sorted(kept, key=lambda span: span.start))
    doc._.dpe_mner_warnings = list(prediction.warnings)


def _post(doc: Doc) -> Post:
    return Post(text=doc.text, image=doc._.image, caption=doc._.caption, tags=doc._.tags)


def register_extensions() -> None:
    """Tell spaCy of the attributes; those that are there already stay as they are.

    Raises:
        InputError: If somebody else made one that cannot be written.
    """
    wanted = ((Doc, "image"), (Doc, "caption"), (Doc, "tags"), (Doc, "dpe_mner_warnings"), (Span, "score"))
    for kind, name in wanted:
        if not kind.has_extension(name):
            kind.set_extension(name, default=None)
            continue
        _, method, getter, setter = kind.get_extension(name)
        written = kind is Span or name == "dpe_mner_warnings"
        if method is not None or (written and getter is not None and setter is None):
            raise InputError(
                f"{kind.__name__}._.{name} is another's and cannot be set; remove it before this component"
            )


def make_component(
    nlp: Language,
    name: str,
    model: str | None,
    backend: str,
    device: str | None,
    picture_models: dict[str, str] | None,
    steps: int | None,
    spans: int | None,
    seed: int,
    convention: str | None,
    batch_size: int,
    overwrite_ents: bool,
) -> Component:
    """What ``nlp.add_pipe("dpe_mner", config={...})`` calls.

    Raises:
        InputError: If a number is out of range.
    """
    prediction = PredictionOptions(steps=steps, spans=spans, seed=seed, convention=convention, batch_size=batch_size)
    return Component(
        ComponentOptions(
            model=model,
            backend=backend,
            device=device,
            picture_models=picture_models,
            overwrite_ents=overwrite_ents,
            prediction=prediction,
        )
    )


Language.factory(NAME, default_config=DEFAULTS, assigns=["doc.ents", "span._.score"], func=make_component)
