"""A witness over HTTP: add-checkpoint as c2sp.org/tlog-witness says, and pages for people and programs."""

import socket
from typing import Final

import structlog
import uvicorn
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from services.witness.witness import Answer, Witness
from shared.words import TrailError

MOST_BYTES: Final = 64 * 1024
"""The longest request that is read; the notary's are under 4 KB."""
_LAST_ANSWERS: Final = 5  # seconds that a stopping server waits for its clients

_log = structlog.get_logger("witness")


def application(witness: Witness) -> Starlette:
    """The witness's HTTP interface. What blocks runs in threads, so that a slow client holds up no other."""

    async def add_checkpoint(request: Request) -> Response:
        body = await _body(request)
        if body is None:
            return _response(Answer(413, f"a request may have {MOST_BYTES} bytes\n"))
        return _response(await run_in_threadpool(witness.add, body))

    async def about(_request: Request) -> Response:
        return PlainTextResponse(await run_in_threadpool(witness.about))

    async def health(_request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(witness.health))

    async def forks(_request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(witness.forks))

    return Starlette(
        routes=[
            Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
            Route("/", about),
            Route("/health", health),
            Route("/forks", forks),
        ],
        exception_handlers={SQLAlchemyError: _cannot_remember, ClientDisconnect: _gone},
    )


def server(witness: Witness) -> uvicorn.Server:
    """A server for a witness; run it on the sockets of :func:`listening`."""
    return uvicorn.Server(
        uvicorn.Config(
            application(witness),
            http="h11",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="error",
            server_header=False,
            timeout_graceful_shutdown=_LAST_ANSWERS,
        )
    )


def listening(address: str) -> socket.socket:
    """A socket that listens at ``host:port``; port 0 takes a free one.

    Raises TrailError when it cannot.
    """
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=family)
    except (OSError, ValueError, OverflowError) as error:
        raise TrailError(
            f"the witness cannot listen at {address} ({error}); give it another address, like 127.0.0.1:7380"
        ) from None


def url_of(listener: socket.socket) -> str:
    """Where a listening socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"


async def _body(request: Request) -> bytes | None:
    """The request's body; None when it is too long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            return None
    return body


def _response(answer: Answer) -> Response:
    # As a header, because Starlette would add a charset to the type that the specification gives without one.
    return Response(answer.text, answer.status, headers={"Content-Type": answer.content_type})


async def _cannot_remember(_request: Request, error: Exception) -> Response:
    _log.error("the database cannot be used", error=str(error))
    return PlainTextResponse("this witness cannot use its database now; nothing was cosigned\n", 503)


async def _gone(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse("the request was cut off\n", 400)
