"""Training on the transformers Trainer: our loss, our validation score, two learning rates, exact resume."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Sampler
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainerControl, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from dpe_mner import ranks
from dpe_mner.checkpoints.loading import save_checkpoint
from dpe_mner.data.writing import write_whole
from dpe_mner.model import DPEMNERModel
from dpe_mner.pictures.store import PictureStore
from dpe_mner.representations.batch import Batch
from dpe_mner.training.augment import hide_pieces, hide_vision
from dpe_mner.training.batches import LengthGroupedBatches, SharedBatches
from dpe_mner.training.examples import Example, ExampleCollator
from dpe_mner.training.folder import HISTORY
from dpe_mner.training.kept_epochs import CHECKPOINTS, drop_older, seal
from dpe_mner.training.recipe import TrainingSettings
from dpe_mner.training.shares import own_batch_size, with_parts_of_all
from dpe_mner.training.sources import Log
from dpe_mner.training.validate import Validator


class EpochTrainer(Trainer):
    """The Trainer with several learning rates, a generator-driven loss and strict F1 as its evaluation.

    A subclass gives ``validate`` and ``keep``. The model's forward takes a batch and a generator and gives a
    :class:`~dpe_mner.objective.criterion.TrainingOutput`.

    Args:
        model: What is trained.
        examples: Training windows.
        collator: Builds batches of them.
        mask_id: Piece that hides another one; None where there is none.
        training: The recipe's training section.
        output: Folder of the run.
        log: Receives a line an epoch.
        progress: Show progress bars.
    """

    optimizer: torch.optim.Optimizer | None
    control: TrainerControl

    def __init__(
        self,
        *,
        model: nn.Module,
        examples: list[Example],
        collator: ExampleCollator,
        mask_id: int | None,
        training: TrainingSettings,
        output: Path,
        log: Log,
        progress: bool = False,
        shares: Sequence[float] | None = None,
    ) -> None:
        self.recipe = training
        self.shares = shares
        self.output = output
        self.say = log
        self.loss_sums: dict[str, float] = {}
        self.loss_count = 0
        self.mask_id = mask_id
        self.pad_id = collator.pad_id
        callbacks: list[TrainerCallback] = []
        if training.early_stop is not None:
            callbacks.append(EarlyStoppingCallback(early_stopping_patience=training.early_stop))
        super().__init__(
            model=model,
            args=training_arguments(training, output, progress=progress),
            train_dataset=examples,
            eval_dataset=[None],
            data_collator=collator,
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)
        if not progress:
            self.remove_callback(ProgressCallback)

    def validate(self) -> dict[str, Any]:
        """Figures of the model as it is now, ``f1`` among them."""
        raise NotImplementedError

    def keep(self, figures: Mapping[str, Any]) -> None:
        """Save the model: it is the best so far."""
        raise NotImplementedError

    def learning_rate(self, name: str) -> tuple[str, float]:
        """Group of a parameter, and that group's learning rate."""
        if name.startswith("text_encoder.encoder."):
            return "encoder", self.recipe.encoder_learning_rate
        if name.endswith((".slope", ".offset")):  # of a gate: a lone number must go much further than a weight
            return "gate", self.recipe.learning_rate * 30
        return "head", self.recipe.learning_rate

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with each group's own learning rate; no decay on biases and norms."""
        if self.optimizer is None:
            groups: dict[tuple[tuple[str, float], bool], list[nn.Parameter]] = {}
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    groups.setdefault((self.learning_rate(name), parameter.ndim > 1), []).append(parameter)
            self.optimizer = torch.optim.AdamW(
                fused=True,
                params=[
                    {"params": parameters, "lr": rate, "weight_decay": self.recipe.weight_decay if decayed else 0.0}
                    for ((_, rate), decayed), parameters in groups.items()
                ],
            )
        return self.optimizer

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Eq. 20. Its noise depends on the seed and the step alone, so that a resumed run draws the same."""
        batch: Batch = inputs["batch"].to(self.args.device)
        batch = with_parts_of_all(batch, pad_id=self.pad_id)
        generator = torch.Generator(device=self.args.device)
        generator.manual_seed(self.recipe.seed * 1_000_003 + self.state.global_step * 1009 + self._micro_step())
        batch = hide_vision(batch, chance=self.recipe.visual_dropout, generator=generator)
        batch = hide_pieces(batch, chance=self.recipe.piece_dropout, mask_id=self.mask_id, generator=generator)
        output = model(batch, generator)
        for name, value in output.parts.items():
            self.loss_sums[name] = self.loss_sums.get(name, 0.0) + value.detach()
        self.loss_count += 1
        # The ranks' losses are shares of one, and their gradients will be averaged.
        return output.loss * ranks.size() / self.args.gradient_accumulation_steps

    def _micro_step(self) -> int:
        return self.loss_count % self.args.gradient_accumulation_steps

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler:
        lengths = [example.length for example in self.train_dataset]
        order: dict[str, Any] = {
            "batch_size": self.recipe.batch_size,
            "seed": self.recipe.seed,
            "epoch": lambda: int(self.state.epoch or 0),
        }
        if self.shares is None:
            return LengthGroupedBatches(lengths, **order)
        return SharedBatches(lengths, [example.source for example in self.train_dataset], self.shares, **order)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Score on validation, keep the model if it is the best so far, and log a line."""
        losses = {
            name: float(ranks.total(torch.as_tensor(share))) / max(self.loss_count, 1)
            for name, share in self.loss_sums.items()
        }
        self.loss_sums, self.loss_count = {}, 0
        f1 = 0.0
        if ranks.is_first():
            figures = self.validate()
            f1 = figures["f1"]
            best = self.state.best_metric
            better = best is None or f1 > best
            if better:
                self.keep(figures)
            self._record(figures, losses, better=better)
        metrics = {"eval_f1": ranks.told_by_first(f1, self.args.device)}
        self.log(metrics | {f"loss_{name}": value for name, value in losses.items()})
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Seal a checkpoint when it is whole, and only then drop older ones."""
        super()._save_checkpoint(*args, **kwargs)
        ranks.meet()  # each writes a part of it
        if ranks.is_first():
            seal(self.output / CHECKPOINTS / f"checkpoint-{self.state.global_step}")
            drop_older(self.output)

    def _record(self, figures: Mapping[str, Any], losses: dict[str, float], *, better: bool) -> None:
        epoch = round(self.state.epoch or 0)
        entry = {"epoch": epoch, "step": self.state.global_step, **figures, "losses": losses}
        history = self.output / HISTORY
        earlier = history.read_text(encoding="utf-8").splitlines() if history.exists() else []
        kept = [line for line in earlier if json.loads(line)["step"] < entry["step"]]
        write_whole(history, "".join(f"{line}\n" for line in [*kept, json.dumps(entry)]))
        total = sum(losses.values())
        mark = " (best)" if better else ""
        by_source = "".join(f"  {name} {f1:.2f}" for name, f1 in figures.get("f1_by_source", {}).items())
        f1 = f"validation F1 {figures['f1']:.2f}{by_source}{mark}"
        self.say(f"epoch {epoch}/{self.recipe.epochs}  loss {total:.3f}  {f1}")


class EntityTrainer(EpochTrainer):
    """Trains our model.

    Args:
        model: With its tokenizer attached.
        examples: Training windows.
        validator: Scores the model after each epoch; its threshold goes into the best checkpoint.
        training: The recipe's training section.
        output: Folder of the run; the best checkpoint so far is in ``best``.
        log: Receives a line an epoch.
        progress: Show progress bars.
        store: Holds the features of the examples' pictures.
        shares: Of each source in every batch; None when there is one source.
    """

    def __init__(
        self,
        *,
        model: DPEMNERModel,
        examples: list[Example],
        validator: Validator,
        training: TrainingSettings,
        output: Path,
        log: Log,
        progress: bool = False,
        store: PictureStore | None = None,
        shares: Sequence[float] | None = None,
    ) -> None:
        self.validator = validator
        assert model.tokenizer is not None
        if training.encoder_dropout is not None:
            set_dropout(model.text_encoder.encoder, training.encoder_dropout)
        if training.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        super().__init__(
            model=model,
            examples=examples,
            collator=ExampleCollator(pad_id=model.tokenizer.pad_id, store=store),
            mask_id=getattr(model.tokenizer.pretrained, "mask_token_id", None),
            training=training,
            output=output,
            log=log,
            progress=progress,
            shares=shares,
        )

    def validate(self) -> dict[str, Any]:
        """Figures with the threshold calibrated on these posts, and F1 without it."""
        return self.validator(self.model).figures()

    def keep(self, figures: Mapping[str, Any]) -> None:
        """Save the checkpoint with its threshold to ``best``."""
        kept = self.model.settings.decision
        self.model.configure(decision={"threshold": figures["threshold"]})
        save_checkpoint(self.model, self.output / "best", half=self.recipe.half_precision_weights)
        self.model.configure(decision=kept)


def set_dropout(module: nn.Module, rate: float) -> None:
    """Set every dropout layer of a module."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = rate


def bf16_is_native() -> bool:
    """Whether this processor multiplies bfloat16 in hardware; emulated, it is slower than float32 by far.

    Not on a GPU: the small recipes keep it waiting for the next kernel, and casting makes more of them. On an H100 an
    epoch took 69 s in bfloat16 and 24 s in float32.
    """
    if torch.cuda.is_available():
        return False
    ask: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)  # older releases: no answer
    capabilities = ask()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def training_arguments(training: TrainingSettings, output: Path, *, progress: bool) -> TrainingArguments:
    """The Trainer's arguments from ours."""
    return TrainingArguments(
        output_dir=str(output / CHECKPOINTS),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=own_batch_size(training.batch_size),
        gradient_accumulation_steps=training.gradient_accumulation,
        learning_rate=training.learning_rate,
        warmup_steps=training.warmup_share,
        lr_scheduler_type=training.scheduler,
        max_grad_norm=training.max_grad_norm,
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="no",
        metric_for_best_model="eval_f1",
        greater_is_better=True,
        seed=training.seed,
        data_seed=training.seed,
        bf16=bf16_is_native() if training.bf16 == "auto" else training.bf16,
        use_cpu=not torch.cuda.is_available(),
        report_to=["tensorboard"] if training.tensorboard else [],
        remove_unused_columns=False,
        label_names=[],
        disable_tqdm=not progress,
        dataloader_pin_memory=False,
        dataloader_num_workers=training.workers,
        ddp_find_unused_parameters=True,  # a batch without any picture leaves those of vision out
        ddp_broadcast_buffers=False,
    )
