"""Asking time-stamping authorities (RFC 3161 over HTTP, section 3.4) to stamp the newest checkpoint.

Nothing here may hold up sealing: what goes wrong with an authority is remembered for health, and tried again.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import httpx
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder
from sqlalchemy.exc import SQLAlchemyError

from services.audit.anchors import TOLERANCE
from services.audit.authorities import Authority, Timestamping
from services.audit.timestamps import Timestamp, Timestamps, stamped_size, verify_token
from services.audit.trouble import Trouble
from shared.moments import instant, stamp
from shared.words import EvidenceError, TrailError

PATIENCE: Final = 10.0
"""Seconds an authority may be silent, and may take over its answer's body."""
_MAX_ANSWER: Final = 100_000  # real ones with their certificates have 1 to 8 KB
_PAUSE: Final = timedelta(minutes=1)
# Half of what verification grants: a checkpoint stamped when the log had long moved on reads as backdating.
_TOO_OLD: Final = TOLERANCE / 2


def ask(authority: Authority, text: str, client: httpx.Client) -> Timestamp:
    """Have a checkpoint's text stamped, and believe the answer only if it verifies.

    Raises TrailError with a sentence naming the authority.
    """
    builder = TimestampRequestBuilder(text.encode(), HashAlgorithm.SHA256, nonce=True, cert_req=True)
    request = builder.build()
    who = f"the time-stamping authority {authority.name} ({authority.url})"
    try:
        token = _post(authority.url, request.as_bytes(), client)
        given = verify_token(token, text, authority.roots, request.nonce)
    except EvidenceError as error:
        raise TrailError(f"{who} sent an answer that does not hold: {error}") from None
    except TrailError as error:
        raise TrailError(f"{who} {error}") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TrailError(f"{who} cannot be asked: {error or type(error).__name__}") from None
    return Timestamp(authority.name, stamped_size(text), text, stamp(given), token)


def _post(url: str, query: bytes, client: httpx.Client) -> bytes:
    """The body of the answer; TrailError with a half sentence when it cannot be one."""
    headers = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
    with client.stream("POST", url, content=query, headers=headers, timeout=PATIENCE) as response:
        if response.status_code != httpx.codes.OK:
            raise TrailError(f"answered with HTTP status {response.status_code}")
        answer = b""
        deadline = time.monotonic() + PATIENCE
        for chunk in response.iter_bytes():
            answer += chunk
            if len(answer) > _MAX_ANSWER:
                raise TrailError(f"answered with more than {_MAX_ANSWER} bytes")
            if time.monotonic() > deadline:  # the client's timeout begins anew with every chunk
                raise TrailError(f"took longer than {PATIENCE:g} seconds over its answer")
    return answer


class Timestamper:
    """Has the newest checkpoint stamped by every authority at the trial's interval.

    It begins no thread; one caller at a time runs :meth:`stamp` in one of its own, and asks :meth:`due` and
    reads ``troubles`` (by authority; empty when all is well) from wherever it is.
    """

    def __init__(
        self, store: Timestamps, timestamping: Timestamping, clock: Callable[[], datetime], client: httpx.Client
    ) -> None:
        self.troubles: dict[str, Trouble] = {}
        self._store = store
        self._every = timestamping.every
        self._authorities = timestamping.asked
        self._clock = clock
        self._client = client
        self._tries = dict.fromkeys((authority.name for authority in self._authorities), 0)
        self._next: dict[str, datetime] = {}
        for authority in self._authorities:
            last = store.latest(authority.name)
            if last is not None:
                self._next[authority.name] = instant(last.time) + self._every

    def due(self, now: datetime) -> bool:
        """Whether there is an authority to ask."""
        return any(self._due(authority, now) for authority in self._authorities)

    def stamp(self, text: str, size: int) -> None:
        """Have the log's newest checkpoint stamped by every authority that is due and has not stamped it yet.

        Never raises for what an authority or the store does: see ``troubles``.
        """
        began = self._clock()
        for authority in self._authorities:
            if self._clock() - began > _TOO_OLD:
                return  # the others are still due, and get the checkpoint that is the newest then
            if self._due(authority, self._clock()):
                self._stamp(authority, text, size)

    def _due(self, authority: Authority, now: datetime) -> bool:
        then = self._next.get(authority.name)
        # A time further ahead than the interval was set by a clock that has been put back since.
        return then is None or not now < then <= now + self._every

    def _stamp(self, authority: Authority, text: str, size: int) -> None:
        name = authority.name
        try:
            last = self._store.latest(name)
            if last is not None and last.size == size:
                return
            timestamp = ask(authority, text, self._client)
            self._store.add(timestamp)
        except (TrailError, SQLAlchemyError) as error:
            self._tries[name] += 1
            self._next[name] = self._clock() + min(self._every, self._tries[name] * _PAUSE)
            self._remember(name, str(error))
            return
        self._tries[name] = 0
        self._next[name] = self._clock() + self._every
        apart = abs(instant(timestamp.time) - self._clock())
        if apart > TOLERANCE:
            self._remember(
                name,
                f"{name} says it is {timestamp.time}, and this machine's clock is {apart} off: set the clock, or "
                "verification will take what is sealed for backdated",
            )
        else:
            self.troubles.pop(name, None)

    def _remember(self, name: str, what: str) -> None:
        known = self.troubles.get(name)
        self.troubles[name] = Trouble(self._clock() if known is None else known.since, what)
