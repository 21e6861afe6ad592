"""MLflow's scoring server on one model: no patient's value in a log, and answers that any reader of JSON takes."""

from __future__ import annotations

import json
import logging
import socket
from pathlib import Path
from typing import Any

from trialml.errors import ModelInputError, StoreError, TrialmlError

__all__ = ["scoring_app", "serve_model"]

_QUIET = ("mlflow", "uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "fastapi")
_JSON = "application/json"


def serve_model(folder: Path, host: str, port: int) -> None:
    """Serve the model of a folder until interrupted.

    Parameters
    ----------
    folder
        That holds the file MLmodel.
    host, port
        Where to listen.

    Raises
    ------
    ModelInputError
        If the folder holds no MLflow model of trialml.
    StoreError
        If the port cannot be listened on.
    """
    import uvicorn

    app = scoring_app(folder)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except (OSError, OverflowError) as error:
            raise StoreError(
                f"'{host}' port {port} cannot be listened on ({error}): choose another with --port."
            ) from error
    uvicorn.run(app, host=host, port=port, log_config=None, access_log=False, log_level="critical")


def scoring_app(folder: Path) -> Any:
    """Return MLflow's scoring application of a model, its answers made strict and its faults without a patient's value.

    Parameters
    ----------
    folder
        That holds the file MLmodel.

    Returns
    -------
    ASGI application
        As `mlflow.pyfunc.scoring_server` makes it. A refused row has null where its number would be.

    Raises
    ------
    ModelInputError
        If the folder holds no MLflow model of trialml, or one that was changed.
    """
    import mlflow.pyfunc
    from mlflow.pyfunc import scoring_server

    for name in _QUIET:
        # MLflow logs a request that fails with what was in it, and the server a fault with its values.
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    if not (folder / "MLmodel").is_file():
        raise ModelInputError(f"'{folder.name}' holds no file MLmodel: name a registered model or its folder.")
    model = mlflow.pyfunc.load_model(str(folder))
    app = scoring_server.init(_Strict(model))
    app.add_middleware(_Discreet)
    return app


class _Strict:
    """A pyfunc model whose numbers that do not exist are null in JSON, and whose refusals are errors of the request."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.metadata = model.metadata

    def predict(self, data: Any, params: Any = None) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            scored = self._model.predict(data, params=params)
        except TrialmlError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        lacking = scored.isna()
        return scored.astype(object).mask(lacking, None) if lacking.any(axis=None) else scored


class _Discreet:
    """Pass requests on; of an answer that is an error, keep the sentence and leave out the trace and the data sent."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        status, held = 200, bytearray()

        async def sift(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start" and message["status"] >= 400:
                status = message["status"]
            elif message["type"] == "http.response.body" and status >= 400:
                held.extend(message.get("body", b""))
                if not message.get("more_body"):
                    await _answer(send, status, _sentence(bytes(held)))
            else:
                await send(message)

        try:
            await self.app(scope, receive, sift)
        except Exception:  # noqa: BLE001  (its words may hold a patient's value)
            await _answer(send, 500, "The server met a fault and gives no number.")


async def _answer(send: Any, status: int, words: str) -> None:
    body = json.dumps({"error_code": "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR", "message": words}).encode()
    headers = [(b"content-type", _JSON.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _sentence(body: bytes) -> str:
    """Return what MLflow says is wrong, without the data that it quotes before it."""
    try:
        said = str(json.loads(body)["message"])
    except (KeyError, TypeError, ValueError):
        said = body.decode("utf-8", "replace")
    said = said.partition("\nInput:")[0]
    if "data '" in said:
        said = said.rpartition("Error: ")[2]
    documented = "The request is not of the form that MLflow documents."
    return documented if len(said) > 500 or "Traceback" in said or "data '" in said else said
