"""What several test files share: the command line in this process, and image features of posts."""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
from dataclasses import dataclass

import pytest
import torch

from dpe_mner.commands.main import main
from dpe_mner.representations.post_features import PostFeatures


@dataclass
class Finished:
    """What a command left behind, as :func:`subprocess.run` tells it."""

    returncode: int
    stdout: bytes
    stderr: bytes


def run(*arguments, stdin: bytes = b"", cwd=None) -> Finished:
    """The command in this process: importing PyTorch anew for every call would take most of the tests' time."""
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for name in ("out", "err")}
    given = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    place, threads = os.getcwd(), torch.get_num_threads()
    code = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["dpe-mner", *map(str, arguments)])
        patch.setattr(sys, "stdin", given)
        patch.setattr(sys, "stdout", streams["out"])
        patch.setattr(sys, "stderr", streams["err"])
        if cwd is not None:
            patch.chdir(cwd)
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        except BaseException:
            traceback.print_exc(file=streams["err"])
            code = 1
        finally:
            torch.set_num_threads(threads)
    assert os.getcwd() == place
    return Finished(code, *(streams[name].buffer.getvalue() for name in ("out", "err")))


def lines_of(output: bytes):
    return [json.loads(line) for line in output.decode().splitlines()]


def assert_refused(result, *words):
    """Exit 2 with a line that says what and what to do; never a traceback."""
    error = result.stderr.decode()
    assert result.returncode == 2, error
    assert "Traceback" not in error
    for word in words:
        assert word in error
    return error


def image_features(posts, present):
    """Random y_c and y_f of each post, for a model of ``conftest.FAST``; none where ``present`` is False."""
    generator = torch.Generator().manual_seed(3)
    coarse = [torch.randn(4, 10, generator=generator) for _ in posts]
    fine = [torch.randn(6, 6, generator=generator) for _ in posts]
    return [PostFeatures(c, f) if there else PostFeatures() for c, f, there in zip(coarse, fine, present, strict=True)]


def mirrored(images):
    """Image features with their channels in reverse: as large, and saying something else."""
    return [PostFeatures(image.coarse.flip(-1), image.fine.flip(-1)) for image in images]
