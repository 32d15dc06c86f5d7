"""The web application: one page, a JSON API, health and metrics over the model that is loaded."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from il7ml import __version__, texts
from il7ml.app.comparison import compare, split_fields
from il7ml.app.current_model import CurrentModel
from il7ml.app.form import parse_form, read_fields
from il7ml.app.metrics import Metrics
from il7ml.app.openapi import describe
from il7ml.app.pages import comparison_page, form_page, result_page, style_sheet
from il7ml.app.rate import RateLimit
from il7ml.app.records import answer_each, answer_one, parse_batch, parse_object
from il7ml.app.security import Guard, read_body
from il7ml.errors import InputError

POLL_SECONDS = 15.0
_PATHS = (
    "/",
    "/compare",
    "/predict",
    "/predict/batch",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/style.css",
)
_LOGGER = logging.getLogger("il7ml.app")
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": text,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, text in (
        (413, "The body is too large"),
        (415, "The body is of another type"),
        (422, "The input is wrong: what was expected, what came, what to do; no value is repeated"),
        (429, "Too many requests of this client; the header Retry-After says in how many seconds to ask again"),
    )
}


class JsonResponse(Response):
    """JSON in ASCII, so that any text of a request can be answered; NaN and infinity are refused."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return json.dumps(content, allow_nan=False).encode("ascii")


def create_app(
    current: CurrentModel, *, token: str | None = None, rate: float = 0.0, poll_seconds: float = POLL_SECONDS
) -> FastAPI:
    """Return the application.

    Parameters
    ----------
    current : CurrentModel
        The model that answers.
    token : str, optional
        Asked for on every path but health and readiness.
    rate : float
        Requests a second that one client may make on average; 0 sets no limit.
    poll_seconds : float
        How often the store is asked whether another model is champion.
    """
    metrics = Metrics()
    following: asyncio.Task[None] | None = None
    one_batch = asyncio.Semaphore(1)  # so that single patients need not share the processor with several batches

    async def follow_champion() -> None:
        while True:
            await asyncio.sleep(poll_seconds)
            if await run_in_threadpool(current.refresh):
                metrics.count_reload()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        nonlocal following
        following = asyncio.create_task(follow_champion())
        yield
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following

    app = FastAPI(
        title="il7ml",
        version=__version__,
        description=f"Risk without and with treatment, and benefit, for one patient or several. {texts.INTENDED_USE}",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's documentation pages fetch scripts from other servers
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )

    def problem(status: int, message: str) -> Response:
        notice = current.state.predictor.notice
        return JsonResponse({**({"notice": notice} if notice else {}), "detail": message}, status_code=status)

    async def input_problem(_: Request, error: Exception) -> Response:
        return problem(422, str(error))

    async def http_problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, StarletteHTTPException)
        return problem(error.status_code, texts.HTTP_PROBLEMS.get(error.status_code, str(error.detail)))

    async def own_fault(_: Request, error: Exception) -> Response:
        # The error's own text may hold a patient's values, so only its kind is told.
        _LOGGER.error("failed unexpectedly (%s)", type(error).__name__)
        return problem(500, "failed unexpectedly. This is a fault of il7ml, not of the input.")

    app.add_exception_handler(InputError, input_problem)
    app.add_exception_handler(StarletteHTTPException, http_problem)
    app.add_exception_handler(Exception, own_fault)
    app.add_middleware(Guard, token=token, rate=RateLimit(rate) if rate else None, problem=problem)
    app.add_middleware(Observed, metrics=metrics)

    def take_note(request: Request, digest: str, statuses: list[str]) -> None:
        metrics.count_answers(statuses)
        counts = " ".join(f"{status}={count}" for status, count in sorted(Counter(statuses).items()))
        caller = request.client.host if request.client else "unknown"
        _LOGGER.info("path=%s caller=%s model=%s %s", request.url.path, caller, digest[:12], counts)

    @app.post("/predict", tags=["prediction"], summary="Answer for one patient", responses=_PROBLEMS)
    async def predict(request: Request) -> Response:
        """Return risks, benefit, evidence, reasons and warnings; `status` is `ok` or `out_of_scope`."""
        predictor = current.state.predictor
        record = parse_object(await read_body(request, "application/json"))
        try:
            answer = await run_in_threadpool(answer_one, predictor, record)
        except InputError:
            take_note(request, predictor.bundle.digest, ["error"])
            raise
        take_note(request, predictor.bundle.digest, [answer["status"]])
        return JsonResponse(answer)

    @app.post("/predict/batch", tags=["prediction"], summary="Answer for several patients", responses=_PROBLEMS)
    async def predict_batch(request: Request) -> Response:
        """Return one answer for each patient, in order. A wrong record has status `error` and spoils no other."""
        predictor = current.state.predictor
        patients = parse_batch(await read_body(request, "application/json"))
        async with one_batch:
            answers = await run_in_threadpool(answer_each, predictor, patients)
        take_note(request, predictor.bundle.digest, [answer["status"] for answer in answers])
        return JsonResponse({**({"notice": predictor.notice} if predictor.notice else {}), "answers": answers})

    @app.get("/healthz", tags=["operation"], summary="Whether the process answers")
    async def healthz() -> Response:
        """Return `ok` as long as the process lives."""
        return JsonResponse({"status": "ok"})

    @app.get("/readyz", tags=["operation"], summary="Which model answers, and whether the store can be used")
    async def readyz() -> Response:
        """Return 200 as long as the loaded model answers, also while the store is away, and say so; else 503."""
        if following is None or following.done():
            return problem(503, "the champion is not followed any more. This is a fault of il7ml: start it again.")
        state = current.state
        notice = state.predictor.notice
        model = state.predictor.describe()
        answer: dict[str, Any] = {"notice": notice} if notice else {}
        answer |= {"status": "ready", "model": {key: model[key] for key in ("name", "version", "digest", "data")}}
        answer |= {"loaded": state.loaded.isoformat(timespec="seconds"), "store": "usable"}
        if state.checked is None:
            answer["store"] = "not used: the model is a folder"
        elif state.refused_since is not None:
            answer["store"] = (
                f"cannot be used since {state.refused_since.isoformat(timespec='seconds')}: the model loaded before "
                "stays in use and may no longer be champion. See the log."
            )
        return JsonResponse(answer)

    @app.get("/metrics", tags=["operation"], summary="Counters in Prometheus' text format")
    async def read_metrics() -> Response:
        """Return numbers of requests and answers, times, and the model; nothing about patients."""
        return Response(metrics.to_text(current.state), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/openapi.json", include_in_schema=False)
    def openapi() -> Response:
        return JsonResponse(describe(app, current.state.predictor, needs_token=token is not None))

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return _html(form_page(current.state.predictor, {}, {}))

    @app.post("/", include_in_schema=False)
    async def page_answer(request: Request) -> Response:
        predictor = current.state.predictor
        given = parse_form(await read_body(request, "application/x-www-form-urlencoded"))
        entry = read_fields(given, predictor.inputs)
        if entry.problems:
            take_note(request, predictor.bundle.digest, ["error"])
            return _html(form_page(predictor, given, entry.problems), status=422)
        prediction = await run_in_threadpool(predictor.predict, entry.patient)
        take_note(request, predictor.bundle.digest, [prediction.status])
        return _html(result_page(predictor, prediction, given, entry))

    @app.post("/compare", include_in_schema=False)
    async def page_comparison(request: Request) -> Response:
        predictor = current.state.predictor
        given, others = split_fields(parse_form(await read_body(request, "application/x-www-form-urlencoded")))
        entry = read_fields(given, predictor.inputs)
        if entry.problems:
            take_note(request, predictor.bundle.digest, ["error"])
            return _html(form_page(predictor, given, entry.problems), status=422)
        prediction = await run_in_threadpool(predictor.predict, entry.patient)
        comparison = await run_in_threadpool(compare, predictor, given, others, prediction)
        answers = [prediction, *(one.prediction for one in comparison.alternatives)]
        statuses = [answer.status for answer in answers] + ["error"] * len(comparison.problems)
        take_note(request, predictor.bundle.digest, statuses)
        page = comparison_page(predictor, prediction, given, entry, comparison)
        return _html(page, status=422 if comparison.problems else 200)

    @app.get("/style.css", include_in_schema=False)
    async def style() -> Response:
        return Response(style_sheet(), media_type="text/css; charset=utf-8")

    return app


class Observed:
    """ASGI middleware that counts requests and their times."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and count when the answer is out."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # what an error that nobody expected is answered with, further out

        async def send_and_see(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        path = scope["path"] if scope["path"] in _PATHS else "other"
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else "other"
        begun = time.perf_counter()
        try:
            await self._app(scope, receive, send_and_see)
        finally:
            if status >= HTTPStatus.BAD_REQUEST:
                caller = scope["client"][0] if scope.get("client") else "unknown"
                _LOGGER.info("path=%s caller=%s refused=%d", path, caller, status)
            self._metrics.count_request(method, path, status, time.perf_counter() - begun)


def _html(page: str, status: int = 200) -> Response:
    return Response(page, status_code=status, media_type="text/html; charset=utf-8")
