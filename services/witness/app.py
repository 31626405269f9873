"""A witness as a process. Run as ``python -m services.witness.app``, or by the command ``trail witness``."""

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog
from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.exc import SQLAlchemyError

from services.witness.metrics import metrics_of
from services.witness.server import listening, server, url_of
from services.witness.witness import Witness
from shared.metrics import serve as serve_metrics
from shared.note import NoteKey
from shared.words import TrailError

LISTEN: Final = "127.0.0.1:7380"
_log = structlog.get_logger("witness")


class WitnessSettings(BaseSettings):
    """What a witness needs to know: environment variables beginning with ``TRAIL_WITNESS_``.

    ``data`` is its own directory; ``logs`` the vkeys of logs to cosign for, apart by spaces, beside those it
    remembers; ``listen`` is host:port; so is ``metrics``, where metrics are served, nowhere when it is empty.
    """

    model_config = SettingsConfigDict(env_prefix="TRAIL_WITNESS_")

    data: Path
    logs: str = ""
    name: str | None = None
    listen: str = LISTEN
    metrics: str = ""


def serve(
    data: Path,
    logs: Sequence[str],
    name: str | None,
    listen: str,
    *,
    forget: Sequence[str] = (),
    metrics: str = "",
    introduce: Callable[[Witness, str], None] = lambda _witness, _url: None,
) -> None:
    """Run a witness until SIGINT or SIGTERM; ``introduce`` is called with it and its URL once it listens.

    Raises TrailError when it cannot run.
    """
    _log_as_json()
    trusted, forgotten = ([NoteKey.parse(vkey) for vkey in vkeys] for vkeys in (logs, forget))
    try:
        witness = Witness.at(data, name, trusted, forgotten)
    except SQLAlchemyError as error:
        raise TrailError(f"the witness's database in {data} cannot be used: {error}") from None
    try:
        with listening(listen) as listener:
            http = server(witness)

            def stop(*_: object) -> None:
                http.should_exit = True

            # uvicorn has handlers of its own while it serves; these are for before, and for after, when it hands on
            # the signal that stopped it.
            for sign in (signal.SIGINT, signal.SIGTERM):
                signal.signal(sign, stop)
            url = url_of(listener)
            serve_metrics(metrics, metrics_of(witness))
            introduce(witness, url)
            _log.info("ready", url=url, vkey=witness.key.vkey(), logs=sorted(witness.logs))
            http.run(sockets=[listener])
    finally:
        witness.close()


def main() -> int:
    """Run until told to stop; 0 when stopped from outside, 2 with a sentence when it could not run."""
    _log_as_json()
    try:
        settings = WitnessSettings()  # its fields come from the environment
        serve(settings.data, settings.logs.split(), settings.name, settings.listen, metrics=settings.metrics)
    except ValidationError as error:
        missing = ", ".join(f"TRAIL_WITNESS_{fault['loc'][0]}".upper() for fault in error.errors() if fault["loc"])
        _log.critical("could not run", error=f"set these environment variables: {missing}")
        return 2
    except TrailError as error:
        _log.critical("could not run", error=str(error))
        return 2
    return 0


def _log_as_json() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    sys.exit(main())
