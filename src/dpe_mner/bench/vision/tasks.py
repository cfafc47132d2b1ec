"""What ``dpe-mner bench --only vision`` measures: does vision decide where only it can, do steps, does H_m?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpe_mner.bench.vision.made_up import VOCABULARY, Posed, made_up
from dpe_mner.bench.vision.pixels import PARTS as PIXEL_PARTS
from dpe_mner.bench.vision.pixels import pixels_decide
from dpe_mner.bench.vision.tiny import GivenParts, exchanged_with_next, learn, tiny_model
from dpe_mner.errors import InputError, nearest
from dpe_mner.evaluation.mean_state import mean_state_answers
from dpe_mner.model import DPEMNERModel
from dpe_mner.pictures.kinds import PictureParts
from dpe_mner.pipeline import PredictionOptions
from dpe_mner.settings import Settings
from dpe_mner.training.recipe import load_recipe
from dpe_mner.training.shipped import shipped_recipe
from dpe_mner.training.validate import Validator
from dpe_mner.types import Post

FUSION: Mapping[str, Mapping[str, Any]] = {  # what a strategy changes in the recipe's fusion
    "default": {},
    "mbt": {"exchange": "bottleneck", "bottleneck_order": "text-first"},
    **{name: {"strategy": name} for name in ("max-pool", "mean-pool", "mlp", "moe")},
}
STRATEGIES = tuple(FUSION)
EPOCHS = {"caption_decides": 6, "which_name": 9, "steps": 8, "grid": 4, "regions": 1, "tags": 4}
STEP_COUNTS = (1, 2)
TASKS = ("caption_decides", "which_name", "steps", "pixels_decide", "relevance", "answers_in_caption")

Log = Callable[[str], None]
Changes = Mapping[str, Mapping[str, Any]]

# What the tiny encoder and each task need besides the small recipe. In "steps" eq. 3 hides the picture from the first
# step and, at t = 0, the caption from the second; the passes of training are those of reasoning.
_TINY: Changes = {"fusion": {"hidden_size": None, "heads": 4}, "loss": {"tagging": 1.0}}
_TASKS: Mapping[str, Changes] = {
    "steps": {
        "fusion": {"lambda_x": 0.0, "coarse_image_size": 16},
        "loss": {"unroll": 2, "pure_noise_share": 1.0},
        "heads": {"self_conditioning": True},
        "reasoning": {"steps": 2, "time_power": 10.0},
    },
}


def tiny_settings(*changes: Changes) -> Settings:
    """The small recipe's settings with changes, section by section."""
    values = load_recipe(shipped_recipe("twitter2017-minilm")).settings.model_dump()
    for change in (_TINY, *changes):
        for section, of_section in change.items():
            values[section] |= of_section
    return Settings.model_validate(values)


def task_settings(task: str, *, strategy: str = "default", changes: Changes | None = None) -> Settings:
    """Settings of a task under a fusion strategy."""
    return tiny_settings(_TASKS.get(task, {}), {"fusion": FUSION[strategy]}, changes or {})


@dataclass(frozen=True)
class Trained:
    """A tiny model that learned a task, and its F1 on the validation posts: own, and with another post's vision."""

    model: DPEMNERModel
    posed: Posed
    own: float
    exchanged: float

    def f1(self, posts: Sequence[Post], given: GivenParts, *, steps: int | None = None) -> float:
        """F1 with its best threshold."""
        return f1_of(self.model, posts, given, steps=steps)

    def by_step(self) -> dict[str, float]:
        """Own F1 at several numbers of reasoning steps."""
        given = GivenParts(self.posed.parts)
        return {str(count): self.f1(self.posed.valid, given, steps=count) for count in STEP_COUNTS}

    def with_mean_state(self) -> float:
        """F1 with H_m at its mean over the validation posts."""
        answers = mean_state_answers(self.model, self.posed.valid, PredictionOptions(threshold=0.0))
        return round(answers.control.report.overall.f1, 2)


def f1_of(model: DPEMNERModel, posts: Sequence[Post], given: GivenParts, *, steps: int | None = None) -> float:
    """F1 of a model on posts whose pictures' parts are at hand, with its best threshold."""
    model._pictures = given if given.parts else None  # type: ignore[assignment]  # reads as a PictureSource does
    return round(Validator(list(posts), batch_size=100)(model, steps=steps).calibrated.overall.f1, 2)


def train_on(posed: Posed, settings: Settings, *, seed: int, epochs: int, words: Sequence[str] = VOCABULARY) -> Trained:
    """Train a tiny model on a task and score it."""
    model = tiny_model(settings, seed=seed, words=words)
    learn(model, posed, epochs=epochs, seed=seed)
    exchanged = f1_of(model, *exchanged_with_next(posed.valid, posed.parts))
    own = f1_of(model, posed.valid, GivenParts(posed.parts))
    return Trained(model, posed, own, exchanged)


@dataclass(frozen=True, kw_only=True)
class VisionBench:
    """The benchmark.

    Attributes:
        seeds: Each task is drawn and learned once for each.
        strategies: Some of :data:`STRATEGIES`.
        tasks: Some of :data:`TASKS`; this object measures the first four of them.
        pictures: Parts of real photographs by name, for ``pixels_decide``.
        log: Receives what is being done.
    """

    seeds: Sequence[int]
    strategies: Sequence[str] = STRATEGIES
    tasks: Sequence[str] = TASKS
    pictures: Mapping[str, PictureParts] | None = None
    log: Log = lambda line: None

    def __call__(self) -> dict[str, Any]:
        """Measure. Keys are the names of the tasks; below them the strategy, then lists over seeds."""
        result: dict[str, Any] = {"seeds": list(self.seeds), "epochs": dict(EPOCHS), "mean_state": {}}
        for task in [name for name in ("caption_decides", "which_name") if name in self.tasks]:
            found = {strategy: self._task(task, strategy) for strategy in self.strategies}
            result[task] = {strategy: _own_and_exchanged(runs) for strategy, runs in found.items()}
            result["mean_state"][task] = {
                strategy: {"own": [run.own for run in runs], "mean_state": [run.with_mean_state() for run in runs]}
                for strategy, runs in found.items()
            }
        if "steps" in self.tasks:
            blind: Changes = {"heads": {"self_conditioning": False}}  # a step does not see what was found before
            result["steps"] = {
                name: self._steps(changes) for name, changes in (("default", {}), ("without found", blind))
            }
        if self.pictures is not None and "pixels_decide" in self.tasks:
            result["pixels_decide"] = {
                part: {strategy: _own_and_exchanged(self._pixels(part, strategy)) for strategy in self.strategies}
                for part in PIXEL_PARTS
            }
        return result

    def _steps(self, changes: Changes) -> dict[str, Any]:
        runs = self._task("steps", "default", changes)
        by_step = [run.by_step() for run in runs]
        return _own_and_exchanged(runs) | {
            "f1_by_step": {k: [of_run[k] for of_run in by_step] for k in map(str, STEP_COUNTS)}
        }

    def _task(self, task: Any, strategy: str, changes: Changes | None = None) -> list[Trained]:
        runs = []
        for seed in self.seeds:
            posed = made_up(task, seed=seed)
            settings = task_settings(task, strategy=strategy, changes=changes)
            runs.append(train_on(posed, settings, seed=seed, epochs=EPOCHS[task]))
            self.log(f"{task}, {strategy}, seed {seed}: own {runs[-1].own:.1f}, exchanged {runs[-1].exchanged:.1f}")
        return runs

    def _pixels(self, part: Any, strategy: str) -> list[Trained]:
        from dpe_mner.pictures.coco import COCO_CLASSES

        assert self.pictures is not None
        words = [*VOCABULARY, *dict.fromkeys(word for name in COCO_CLASSES for word in name.split())]
        width = next(p.grid.shape[1] for p in self.pictures.values() if p.grid is not None)
        sizes: Changes = {"fusion": {"coarse_image_size": width, "fine_image_size": width}}
        runs = []
        for seed in self.seeds:
            posed = pixels_decide(self.pictures, part, seed=seed)
            settings = task_settings("pixels", strategy=strategy, changes=sizes)
            runs.append(train_on(posed, settings, seed=seed, epochs=EPOCHS[part], words=words))
            self.log(f"pixels, {part}, {strategy}, seed {seed}: {runs[-1].own:.1f}, {runs[-1].exchanged:.1f}")
        return runs


def _own_and_exchanged(runs: Sequence[Trained]) -> dict[str, list[float]]:
    return {"own": [run.own for run in runs], "exchanged": [run.exchanged for run in runs]}


def answers_in_caption(
    folder: Path, *, recipe: Path | None, seeds: Sequence[int], strategies: Sequence[str], output: Path, log: Log
) -> dict[str, Any]:
    """Train on real posts whose captions state the answers, and validate with own and with exchanged ones.

    Args:
        folder: Holds ``train.txt`` and ``valid.txt`` with BIO tags.
        recipe: Base recipe; the small one when not given.
        seeds: One run each.
        strategies: Some of :data:`STRATEGIES`.
        output: Holds the runs.
        log: Receives a line an epoch.
    """
    from dpe_mner.bench.vision.answers import write_stated
    from dpe_mner.checkpoints.loading import load_checkpoint
    from dpe_mner.data.dataset import load_dataset
    from dpe_mner.evaluation.exchanged import exchanged
    from dpe_mner.training.folder import read_metrics
    from dpe_mner.training.train import train

    base = recipe or shipped_recipe("twitter2017-minilm")
    told = output / "stated.jsonl"
    output.mkdir(parents=True, exist_ok=True)
    posts = [post for split in ("train.txt", "valid.txt") for post in load_dataset(folder / split).posts]
    write_stated(posts, told)
    valid = load_dataset(folder / "valid.txt", visual_text=told).posts
    result: dict[str, Any] = {}
    for strategy in strategies:
        own, other = [], []
        for seed in seeds:
            run = output / f"answers-{strategy}-seed{seed}"
            overrides = {
                "data.folder": str(folder),
                "data.visual_text": str(told.absolute()),
                **{f"settings.fusion.{key}": value for key, value in FUSION[strategy].items()},
                "training.visual_dropout": 0.0,
                "training.epochs": 4,
                "training.seed": seed,
                "output": str(run),
            }
            metrics = read_metrics(run)
            if metrics is None:
                metrics = train(load_recipe(base, [f"{k}={v}" for k, v in overrides.items()]), log=log)
            model = load_checkpoint(DPEMNERModel, str(run))
            own.append(round(float(metrics["f1"]), 2))
            other.append(f1_of(model, exchanged(valid, "captions", seed=seed), GivenParts({})))
        result[strategy] = {"own": own, "exchanged": other}
    return result


def check_names(option: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse an unknown name.

    Raises:
        InputError: Naming the nearest, and those there are.
    """
    for name in names:
        if name not in known:
            raise InputError(f"{option} {name!r}: no such name{nearest(name, known)}; there are {', '.join(known)}")
