"""The service as a FastAPI application: REST interface, counters, health, and the page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from dpe_mner.errors import InputError
from dpe_mner.pipeline import PredictionOptions, Predicts
from dpe_mner.types import Post, Prediction
from dpe_mner.version import __version__
from dpe_mner.web.batching import Batcher
from dpe_mner.web.guard import Guard
from dpe_mner.web.limits import Limits
from dpe_mner.web.metrics import CONTENT_TYPE, Metrics
from dpe_mner.web.openapi import body_of, errors, install
from dpe_mner.web.reading import Read, Reader, check_choices
from dpe_mner.web.refusals import Refused, error_body
from dpe_mner.web.schemas import BatchOut, ExplanationOut, HealthOut, LimitsOut, ModelOut, PredictionOut
from dpe_mner.web.shown import shown
from dpe_mner.web.site import add_site

_CODES = {404: "not_found", 405: "method"}
_GONE = 499  # nobody is there to read it
_UNREAD = "image: not used; this model reads captions and tags, not pictures"
_COMMON = (401, 408, 413, 415, 422, 429, 500, 503)


class Service:
    """What the endpoints share.

    Args:
        model: That answers.
        limits: Of requests.
        name: Of the model, as it is shown.
    """

    def __init__(self, model: Predicts, limits: Limits, name: str) -> None:
        self.limits, self.metrics = limits, Metrics()
        self.reader = Reader(limits, model.conventions)
        self.about = described(model, limits, name)
        self._model = model
        self.batcher = self.fresh_batcher()

    def fresh_batcher(self) -> Batcher:
        """One that has not been stopped: an application may be started again, in another event loop."""
        self.batcher = Batcher(self._model, self.limits, self.metrics)
        return self.batcher

    async def answers(self, request: Request, read: Read, *, explain: bool) -> list[Prediction] | None:
        """Predictions of what a request asks; None if its client went away, and then nothing more is computed.

        Raises:
            Refused: If there is no room, or the model cannot do what is asked.
        """
        check_choices(read.choices, self.limits)
        choices = read.choices
        try:
            options = PredictionOptions(
                steps=choices.steps,
                spans=choices.spans,
                seed=choices.seed,
                batch_size=self.limits.batch,
                explain=explain,
            )
        except InputError as error:
            raise Refused(422, "invalid", str(error)) from None
        return await self.computed(request, read.posts, options)

    async def computed(
        self, request: Request, posts: Sequence[Post], options: PredictionOptions
    ) -> list[Prediction] | None:
        """As :meth:`answers`, of posts. A picture that the model cannot read is told in a warning, and not kept."""
        unread = [post.image is not None and not self.about.reads_pictures for post in posts]
        kept = [replace(post, image=None) if lost else post for post, lost in zip(posts, unread, strict=True)]
        waiting = self.batcher.submit(kept, options)
        answered = asyncio.gather(*waiting)
        gone = asyncio.ensure_future(_gone(request))
        either: set[asyncio.Future[Any]] = {answered, gone}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not answered.done():
                return None
            return [
                replace(found, warnings=[*found.warnings, _UNREAD]) if lost else found
                for found, lost in zip(await answered, unread, strict=True)
            ]
        finally:
            gone.cancel()
            answered.cancel()  # of a post that is not computed yet: it is dropped from the queue
            for each in waiting:
                each.cancel()


def create_app(
    model: Predicts,
    *,
    limits: Limits | None = None,
    token: str | None = None,
    name: str = "dpe-mner",
) -> FastAPI:
    """The service of one model.

    Args:
        model: Used by one thread; nobody else may use it meanwhile.
        limits: Of requests.
        token: That requests must bring; None for none.
        name: Of the model, as it is shown.
    """
    service = Service(model, limits or Limits(), name)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        working = asyncio.create_task(service.fresh_batcher().run())
        try:
            yield
        finally:
            service.batcher.close()
            await working

    app = FastAPI(
        title="dpe-mner",
        version=__version__,
        summary="Named entities in posts that come with a picture.",
        docs_url=None,
        redoc_url=None,
        lifespan=life,
    )
    app.state.service = service
    _add_handlers(app, service)
    _add_endpoints(app, service)
    install(app)
    open_paths = {"/health"} | add_site(app)
    app.add_middleware(
        Guard,
        limits=service.limits,
        metrics=service.metrics,
        paths={path for route in app.routes if (path := getattr(route, "path", None))},
        open_paths=open_paths,
        token=token,
    )
    return app


def described(model: Predicts, limits: Limits, name: str) -> ModelOut:
    """What a client may know of the model."""
    steps, spans = model.usual
    try:
        list(model.predictions([], PredictionOptions(explain=True)))
        explains = True
    except InputError:
        explains = False
    return ModelOut(
        name=name,
        backend="onnx" if type(model).__name__ == "OnnxModel" else "torch",
        labels=model.labels,
        conventions=model.conventions,
        steps=steps,
        spans=spans,
        explains=explains,
        reads_pictures=getattr(model, "pictures", None) is not None,
        limits=LimitsOut(**{key: getattr(limits, key) for key in LimitsOut.model_fields}),
    )


def _add_endpoints(app: FastAPI, service: Service) -> None:
    @app.post("/v1/predict", response_model=PredictionOut, responses=errors(*_COMMON), openapi_extra=_ONE)
    async def predict(request: Request) -> Response:
        """The entities of one post."""
        found = await service.answers(request, await service.reader.one(request), explain=False)
        return _nobody() if found is None else JSONResponse(found[0].as_dict())

    @app.post("/v1/predict/batch", response_model=BatchOut, responses=errors(*_COMMON), openapi_extra=_SEVERAL)
    async def predict_batch(request: Request) -> Response:
        """The entities of several posts, in their order."""
        found = await service.answers(request, await service.reader.several(request), explain=False)
        if found is None:
            return _nobody()
        return JSONResponse({"predictions": [prediction.as_dict() for prediction in found]})

    @app.post("/v1/explain", response_model=ExplanationOut, responses=errors(*_COMMON), openapi_extra=_ONE)
    async def explain(request: Request) -> Response:
        """The entities of one post and how they came about, step by step."""
        found = await service.answers(request, await service.reader.one(request), explain=True)
        return _nobody() if found is None else JSONResponse(found[0].as_dict(explain=True))

    @app.post("/page/answer", include_in_schema=False)
    async def page_answer(request: Request) -> Response:
        """What the page draws: an explanation where the model gives one."""
        read = await service.reader.one(request)
        found = await service.answers(request, read, explain=service.about.explains)
        return _nobody() if found is None else JSONResponse(shown(read.posts[0], found[0]))

    @app.get("/v1/model", responses=errors(401))
    async def model() -> ModelOut:
        """The model that answers, and what may be asked of it."""
        return service.about

    @app.get("/health", responses=errors(503))
    async def health() -> HealthOut:
        """Whether the service answers; needs no token."""
        if service.batcher.stopped:
            raise Refused(503, "stopping", "the service takes no more requests")
        return HealthOut(status="ok", version=__version__, waiting=service.batcher.waiting)

    @app.get("/metrics", responses={**_TEXT, **errors(401)})
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})


_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
_ONE = body_of("PostRequest", form=True)
_SEVERAL = body_of("BatchRequest")


def _add_handlers(app: FastAPI, service: Service) -> None:
    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        service.metrics.refused.labels(error.code).inc()
        return error.response()

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        code = _CODES.get(error.status_code, "invalid")
        return JSONResponse(error_body(code, str(error.detail)), error.status_code, error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return _nobody()

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        return Refused(500, "fault", "a fault of the service; its log says more").response()


async def _gone(request: Request) -> None:
    """Return when the client goes away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _nobody() -> Response:
    return Response(status_code=_GONE)
