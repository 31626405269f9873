"""What every service's process does the same: connect within bounds, log as JSON lines, stop with a sentence."""

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, TextIO, cast

import structlog
from faststream import FastStream
from faststream.message import StreamMessage
from faststream.nats import NatsBroker
from faststream.nats.security import NatsNKey
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from shared.broker import CONNECT_TIMEOUT, note_refusal, servers, told
from shared.broker_keys import Credentials
from shared.words import TrailError


class BatchSubscriber(Protocol):
    """FastStream's batch pull subscriber, as far as it is touched here."""

    subscription: Any


class _PatientSubscription:
    """A pull subscription whose "nothing came in time" always has one type.

    nats-py 2.16 raises a bare TimeoutError when less than a millisecond of the time is left, FastStream 0.7.8
    catches only nats-py's own, and its fetch loop then dies with the messages in hand: they would come again
    only after the acknowledgement wait, half a minute later.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def fetch(self, batch: int, timeout: float | None) -> list[Msg]:
        try:
            found: list[Msg] = await self._inner.fetch(batch=batch, timeout=timeout)
        except TimeoutError:
            raise NatsTimeoutError from None
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def fetch_patiently(subscriber: BatchSubscriber) -> None:
    """Let a started batch subscriber outlive every timeout of its fetches."""
    subscriber.subscription = _PatientSubscription(subscriber.subscription)


class Service(Protocol):
    """A FastStream app with the reason it stopped, if it had one of its own."""

    app: FastStream
    fatal: "FatalError | None"


class FatalError(TrailError):
    """Why a service stopped itself; ``defect`` is the exception behind it when that was none of ours."""

    defect: BaseException | None = None


def fatal(error: Exception) -> FatalError:
    """The sentence for what must stop a service."""
    if isinstance(error, TrailError):
        return FatalError(str(error))
    made = FatalError(
        f"a defect stopped this service ({type(error).__name__}: {error}); please report it with this log"
    )
    made.defect = error
    return made


def broker_for(url: str, name: str, credentials: Credentials | None = None, api: str | None = None) -> NatsBroker:
    """A FastStream broker that waits out interruptions for ever; only its start is bounded.

    ``api``: where JetStream's interface is, if not at $JS.API. Raises TrailError when credentials cannot be read.
    """

    async def refused(error: Exception) -> None:
        note_refusal(error)

    security = None
    if credentials is not None:
        # Handshake first: else whoever is on the way could claim that there is no TLS, and be believed.
        security = NatsNKey.from_seed(credentials.seed, ssl_context=credentials.tls(), tls_handshake_first=True)
    return NatsBroker(
        servers(url),
        name=name,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,  # type: ignore[arg-type]
        logger=None,
        security=security,
        error_cb=refused,
        js_options={} if api is None else {"prefix": api},
    )


async def started(broker: NatsBroker) -> Client:
    """Connect the broker.

    Raises TrailError with a sentence when it does not answer.
    """
    try:
        return await asyncio.wait_for(broker.connect(), CONNECT_TIMEOUT)
    except (TimeoutError, OSError, NatsError) as error:
        raise TrailError(f"{told(error, ', '.join(broker.url))}; is it running?") from None


async def raw_batch(message: StreamMessage[Any]) -> Any:
    """Hand payloads on untouched: one that does not parse must not take its whole batch with it."""
    return message.body


class _Outlet:
    """Standard error, where a full disk costs lines of the log and nothing else."""

    def write(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


def run(build: Callable[[], Service]) -> int:
    """Run a service until it is told to stop; returns the process's exit code."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Outlet())),
    )
    logging.getLogger("nats").setLevel(logging.ERROR)
    log = structlog.get_logger("service")
    try:
        service = build()
        asyncio.run(service.app.run())
    except ValidationError as error:
        missing = ", ".join(f"TRAIL_{fault['loc'][0]}".upper() for fault in error.errors() if fault["loc"])
        log.critical("could not run", error=f"set these environment variables, or TRAIL_HOME: {missing}")
        return 2
    except SQLAlchemyError as error:
        log.critical("could not run", error=f"the service's database cannot be used: {error}")
        return 2
    except (TrailError, NatsError, TimeoutError) as error:
        log.critical("could not run", error=str(error) or type(error).__name__)
        return 2
    return 0 if service.fatal is None else 2
