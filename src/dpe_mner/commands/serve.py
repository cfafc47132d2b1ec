"""``dpe-mner serve``."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from dpe_mner.commands.console import note
from dpe_mner.commands.options import Device, Model, PictureModels, Quiet, picture_models
from dpe_mner.errors import InputError

if TYPE_CHECKING:
    from dpe_mner.pipeline import Predicts

_NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
_BACKENDS = ("auto", "torch", "onnx")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen on; only this machine if absent.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", help="Port to listen on; 0 for any that is free.")] = 8000,
    model: Model = None,
    backend: Annotated[str, typer.Option("--backend", help="torch, onnx, or auto: PyTorch if it is there.")] = "auto",
    device: Device = None,
    picture_model: PictureModels = None,
    token_env: Annotated[
        str | None,
        typer.Option("--token-env", metavar="NAME", help="Environment variable with the token requests must bring."),
    ] = None,
    max_batch: Annotated[int, typer.Option("--max-batch", help="Posts computed together.")] = 32,
    max_queue: Annotated[int, typer.Option("--max-queue", help="Posts that may wait; more are refused.")] = 1024,
    max_posts: Annotated[int, typer.Option("--max-posts", help="Posts in one request.")] = 256,
    max_body_mb: Annotated[float, typer.Option("--max-body-mb", help="MiB of one request.")] = 16.0,
    max_characters: Annotated[int, typer.Option("--max-characters", help="Characters of one post.")] = 10_000,
    max_megapixels: Annotated[float, typer.Option("--max-megapixels", help="Million pixels of one picture.")] = 40.0,
    quiet: Quiet = False,
) -> None:
    """Serve a web page and a REST interface: /v1/predict, /v1/predict/batch, /v1/explain; described at /docs.

    Example: dpe-mner serve --port 8000

    Example: DPE_MNER_TOKEN=secret dpe-mner serve --host 0.0.0.0 --token-env DPE_MNER_TOKEN
    """
    for name in _NEEDED:
        if find_spec(name) is None:
            raise InputError(f"serve needs {name.replace('_', '-')}; run pip install 'dpe-mner[serve]'")
    if backend not in _BACKENDS:
        raise InputError(f"--backend {backend}: expected {', '.join(_BACKENDS)}")
    models = picture_models(picture_model)
    token = _token(token_env)
    from dpe_mner.web.application import create_app
    from dpe_mner.web.limits import Limits
    from dpe_mner.web.running import address_of, bind, is_loopback
    from dpe_mner.web.running import serve as run

    limits = Limits(
        batch=max_batch,
        queue=max_queue,
        posts=min(max_posts, max_queue),
        body_bytes=round(max_body_mb * 2**20),
        held_bytes=max(round(max_body_mb * 2**20) * 16, Limits.held_bytes),
        characters=max_characters,
        pixels=round(max_megapixels * 1e6),
    )
    bound = bind(host, port)  # before the model is loaded: a taken port costs nothing
    if not is_loopback(host) and token is None:
        note(f"warning: whoever reaches {host} may use this service; --token-env NAME asks for a token", quiet=quiet)
    import dpe_mner

    chosen = cast(Literal["auto", "torch"], backend)
    if backend == "onnx":
        _refuse_with_onnx(device, models)
        loaded: Predicts = dpe_mner.load(model, backend="onnx")
    else:
        loaded = dpe_mner.load(model, device=device, picture_models=models or None, backend=chosen)
    app = create_app(loaded, limits=limits, token=token, name=_shown(model))
    note(f"serving {_shown(model)} at {address_of(bound)}, described at /docs; Ctrl-C stops", quiet=quiet)
    try:
        run(app, bound, limits)
    except KeyboardInterrupt:  # also of SIGTERM: uvicorn raises the signal again after it has stopped in good order
        pass
    note("stopped; everything accepted was answered", quiet=quiet)


def _token(name: str | None) -> str | None:
    """The token, which is never on a command line, where other users of a machine could read it."""
    if name is None:
        return None
    token = os.environ.get(name, "").strip()
    if not token:
        raise InputError(f"--token-env {name}: this environment variable is not set, or empty; put the token into it")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(f"--token-env {name}: a token has letters, digits and signs only, without spaces")
    return token


def _refuse_with_onnx(device: str | None, models: dict[str, str]) -> None:
    for option, given in (("--device", device not in (None, "cpu")), ("--picture-model", bool(models))):
        if given:
            raise InputError(f"{option} is for --backend torch; leave one of them out")


def _shown(model: str | None) -> str:
    """A model's name without the place it lies in, which is nobody's business."""
    return "the bundled model" if model is None else os.path.basename(os.path.normpath(model))
