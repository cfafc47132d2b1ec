"""A run killed at any moment ends as an undisturbed one; a checkpoint that is not whole is named and left out."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file

from dpe_mner.errors import InputError
from dpe_mner.training.kept_epochs import SEAL, drop_older, last_whole, seal
from dpe_mner.training.recipe import load_recipe
from dpe_mner.training.train import train


def quiet(line):
    pass


@pytest.fixture
def checkpoints(tmp_path):
    """Steps 9, 20 and 100 of a run, sealed; ordered neither by name nor by time."""
    made = {}
    for step in (100, 9, 20):
        made[step] = tmp_path / "checkpoints" / f"checkpoint-{step}"
        made[step].mkdir(parents=True)
        (made[step] / "model.safetensors").write_bytes(bytes([step]) * 1000)
        (made[step] / "trainer_state.json").write_text("{}")
        seal(made[step])
    return made


def test_the_newest_by_step_is_gone_on_from_and_two_are_kept(checkpoints, tmp_path):
    assert last_whole(tmp_path, log=quiet) == checkpoints[100]
    drop_older(tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["checkpoint-100", "checkpoint-20"]


def cut_off(checkpoint):
    (checkpoint / SEAL).unlink()


def missing(checkpoint):
    (checkpoint / "trainer_state.json").unlink()


def shorter(checkpoint):
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def other_bit(checkpoint):
    path = checkpoint / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)


def torn_seal(checkpoint):
    path = checkpoint / SEAL
    path.write_bytes(path.read_bytes()[:40])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut_off, "not written to its end"),
        (missing, "trainer_state.json is missing"),
        (shorter, "model.safetensors is damaged"),
        (other_bit, "model.safetensors is damaged"),
        (torn_seal, "seal.json cannot be read"),
    ],
)
def test_what_is_not_whole_is_named_and_the_one_before_it_taken(checkpoints, tmp_path, damage, said):
    damage(checkpoints[100])
    told = []
    assert last_whole(tmp_path, log=told.append) == checkpoints[20]
    (line,) = told
    assert said in line
    assert "checkpoint-100" in line


@pytest.mark.slow
def test_a_run_goes_on_from_the_epoch_before_a_damaged_one(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file, ["training.epochs=3"])
    whole, broken = (recipe.model_copy(update={"output": str(tmp_path / name)}) for name in ("whole", "broken"))
    train(whole, log=quiet)

    def end(line):
        if line.startswith("epoch 3/"):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(broken, log=end)
    newest = last_whole(tmp_path / "broken", log=quiet)
    other_bit(newest)
    told = []
    train(broken, resume=True, log=told.append)
    assert any("is damaged" in line and newest.name in line for line in told)
    assert_same(tmp_path / "whole", tmp_path / "broken")


def test_killed_before_its_first_checkpoint_a_run_begins_anew_when_resumed(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file, [f"output={tmp_path / 'run'}"])

    def end(line):
        if line.startswith("epoch 1/"):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(recipe, log=end)
    with pytest.raises(InputError, match="add --resume"):
        train(recipe, log=quiet)
    told = []
    train(recipe, resume=True, log=told.append)
    assert any("beginning anew" in line for line in told)


@pytest.mark.slow
def test_killed_at_twenty_random_moments_the_weights_are_those_of_an_undisturbed_run(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file, ["training.epochs=8"])
    whole, broken = (recipe.model_copy(update={"output": str(tmp_path / name)}) for name in ("whole", "broken"))
    started = time.monotonic()
    train(whole, log=quiet)
    most = (
        time.monotonic() - started
    ) / 3  # killed within a third of a run: several epochs are met, and all kinds of work
    draw = random.Random(0)
    process = multiprocessing.get_context("fork")
    kills = 0
    while kills < 20 and not (tmp_path / "broken" / "metrics.json").exists():
        begun = (tmp_path / "broken" / "recipe.yaml").exists()
        work = process.Process(target=train, args=(broken,), kwargs={"resume": begun, "log": quiet})
        work.start()
        work.join(draw.uniform(0.3, 1) * most)
        if work.is_alive():
            work.kill()
            kills += 1
        work.join()
        if (tmp_path / "broken" / "metrics.json").exists() and kills < 20:
            shutil.rmtree(tmp_path / "broken")  # finished before it was killed twenty times: once more
    if not (tmp_path / "broken" / "metrics.json").exists():
        train(broken, resume=(tmp_path / "broken" / "recipe.yaml").exists(), log=quiet)
    assert kills == 20
    assert_same(tmp_path / "whole", tmp_path / "broken")


def assert_same(one, other):
    """Weights to the bit, and history."""
    expected, found = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert (one / "history.jsonl").read_text() == (other / "history.jsonl").read_text()
