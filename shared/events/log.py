"""What the log says about itself and its trial."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from shared.events.base import Data, Hash, Index, Name, Text, Token
from shared.events.identity import PublicKey, SourceText
from shared.moments import Day, instant


class Opened(Data):
    """Entry 0, the genesis: what this log is for, and the two keys everything else rests on.

    ``clock`` is ``simulated`` for a synthetic study, whose time moves only by ``log.clock_moved``.
    ``tick_seconds``: how much sealed time may pass without a ``log.ticked``.
    """

    origin: Name
    protocol_digest: Hash
    log_key: PublicKey
    root_key: PublicKey
    clock: Literal["system", "simulated"]
    tick_seconds: Annotated[int, Field(ge=1, le=604_800)]


class Ticked(Data):
    """Sealed time passes even when nobody posts. ``clock_offset_ms`` is the distance from NTP where known."""

    clock_offset_ms: Annotated[int, Field(ge=-(10**9), le=10**9)] | None = None


class ClockMoved(Data):
    """A simulated log's time moves on to this instant."""

    to: str

    @model_validator(mode="after")
    def _is_a_time(self) -> Self:
        instant(self.to)
        return self


class GapDetected(Data):
    """A source's sequence skipped numbers: events that exist at the source have not arrived."""

    source: SourceText
    first_missing: Annotated[int, Field(ge=1)]
    last_missing: Annotated[int, Field(ge=1)]
    noticed_at: Index


class IntakeLost(Data):
    """Messages that the broker had numbered are gone from it; their sources will send them again."""

    first_missing: Annotated[int, Field(ge=1)]
    last_missing: Annotated[int, Field(ge=1)]


class ProtocolAdopted(Data):
    """A version of the trial's protocol takes effect, whole: a replay needs nothing but the log."""

    document: Annotated[str, StringConstraints(min_length=1, max_length=55_000)]
    digest: Hash


class ProtocolAmended(Data):
    """Another version of the protocol, whole; it takes effect at a site by ``protocol.activated``.

    ``replaces``: the digest of the version it amends. ``reconsent``: who consented before has to consent again.
    """

    document: Annotated[str, StringConstraints(min_length=1, max_length=55_000)]
    digest: Hash
    replaces: Hash
    reconsent: bool
    summary: Text


class ProtocolActivated(Data):
    """A version is in force at a site from this day of the site on, as its ethics committee approved."""

    digest: Hash
    site: Token
    effective: Day
    committee: Name
    reference: Name
    approved: Day


class KeyRotated(Data):
    """The log's checkpoints and statements are signed with another key from here on; ``why`` for whoever asks.

    After a compromise nothing that the old key signed over a larger tree counts any more.
    """

    public_key: PublicKey
    why: Text
