"""Several processes that share every batch learn what one would."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import rank_gradients
import torch
import yaml
from helpers import assert_refused, run
from safetensors.torch import load_file

from dpe_mner.training.recipe import load_recipe
from dpe_mner.training.train import train

HERE = Path(__file__).parent


def started(count, *arguments):
    """Run a Python program as so many processes that find each other, as torchrun does it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(count):
        found = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
        environment = os.environ | {name: str(value) for name, value in found.items()}
        environment |= {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *map(str, arguments)]
        processes.append(subprocess.Popen(command, env=environment, cwd=HERE, stderr=subprocess.PIPE, text=True))
    told = [process.communicate(timeout=240)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * count, "\n".join(told)
    return told


def test_two_processes_give_the_gradients_of_one(saved_model, tmp_path, monkeypatch):
    """The second has neither captions nor pictures; tags are on both, so texts of one meet pictures of the other."""
    monkeypatch.setenv("WORLD_SIZE", "1")
    output = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    rank_gradients.main(saved_model, str(output[0]), "1100")
    started(2, "rank_gradients.py", saved_model, output[1], "1100")
    one, two = map(load_file, output)
    assert len(one) > 100
    assert one.keys() <= two.keys()  # what no process needed has no gradient, or one of zeros
    for name in two:
        expected = one.get(name, torch.zeros_like(two[name]))
        torch.testing.assert_close(two[name], expected, atol=1e-5, rtol=1e-5, msg=name)
    gates = [one[name].abs().max() for name in one if name.endswith((".slope", ".log_scale"))]
    assert len(gates) > 2
    assert min(gates) > 1e-5


@pytest.mark.slow
def test_a_run_is_that_of_one_process_and_goes_on_with_another_number(recipe_file, tmp_path):
    values = yaml.safe_load(recipe_file.read_text())
    values["training"] |= {"encoder_dropout": 0.0, "visual_dropout": 0.3, "bf16": False}
    values["settings"].setdefault("fusion", {}).update(dropout=0.0)
    recipe_file.write_text(yaml.safe_dump(values))
    outputs = {name: tmp_path / name for name in ("one", "two", "changed")}

    def launch(count, output, *more):
        return started(count, "-m", "dpe_mner", "train", recipe_file, "--output", output, *more)

    launch(1, outputs["one"])
    told = launch(2, outputs["two"])
    _end_after_an_epoch(recipe_file, outputs["changed"])
    launch(2, outputs["changed"], "--resume")
    assert told[1].count("epoch") == 0 < told[0].count("epoch")
    weights = {name: load_file(outputs[name] / "model.safetensors") for name in outputs}
    for name, expected in weights["one"].items():
        torch.testing.assert_close(weights["two"][name], expected, atol=1e-3, rtol=1e-3, msg=name)
        torch.testing.assert_close(weights["changed"][name], expected, atol=1e-3, rtol=1e-3, msg=name)


def _end_after_an_epoch(recipe_file, output):
    """What one process leaves when it is ended in its second epoch."""

    class Ended(Exception):
        pass

    def say(line):
        if line.startswith("epoch 2/"):
            raise Ended

    with pytest.raises(Ended):
        train(load_recipe(recipe_file, [f"output={output}"]), log=say)


def test_what_cannot_be_shared_out_is_one_clear_line(recipe_file, tmp_path, monkeypatch):
    monkeypatch.setattr("dpe_mner.training.shares.size", lambda: 3)
    refused = run("train", recipe_file, "--output", tmp_path / "out")
    assert_refused(refused, "training.batch_size 4", "3 processes", "multiple of 3")


def test_a_baseline_says_that_it_trains_in_one_process(recipe_file, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused = run("train", recipe_file, "--set", "baseline.system=bert-span", "--output", tmp_path / "out")
    assert_refused(refused, "bert-span", "one process")
