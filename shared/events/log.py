"""What the log says about itself, its trial and who may speak."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from shared.events.base import Data, Hash, Index, KeyIdText, Name, Role, Text
from shared.moments import instant

PublicKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{43}=$")]
SourceText = Annotated[
    str, StringConstraints(pattern=r"^(admin|service|site|sponsor)/[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
]


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


class Granted(Data):
    """A key may speak for a source in these roles. ``holder`` is the accountable person or system."""

    public_key: PublicKey
    holder: Name
    source: SourceText
    roles: Annotated[list[Role], Field(min_length=1, max_length=8)]

    @model_validator(mode="after")
    def _roles_fit_the_source(self) -> Self:
        kind = self.source.partition("/")[0]
        for role in self.roles:
            if KIND_OF_ROLE.get(role) != kind:
                raise ValueError(f"the role {role} cannot be granted to the source {self.source}")
        return self


_RoleBeforeSafety = Literal["root", "administrator", "log", "screening", "site_system", "investigator", "sponsor"]


class GrantedBeforeSafety(Granted):
    """A grant in an entry of format 2 or less, when there were fewer roles."""

    roles: Annotated[list[_RoleBeforeSafety], Field(min_length=1, max_length=8)]  # type: ignore[assignment]


KIND_OF_ROLE: dict[str, str] = {
    "administrator": "admin",
    "screening": "service",
    "site_system": "site",
    "investigator": "site",
    "sponsor": "sponsor",
    "safety": "service",
    "medical_monitor": "sponsor",
    "cohort_committee": "sponsor",
}


class KeyRotated(Data):
    """The log's checkpoints and statements are signed with another key from here on; ``why`` for whoever asks.

    After a compromise nothing that the old key signed over a larger tree counts any more.
    """

    public_key: PublicKey
    why: Text


class Revoked(Data):
    """A key may speak no longer; what it signed before stays signed."""

    key: KeyIdText
    why: Text
