"""Who may speak: the keys that the log itself holds, folded from its own entries (DESIGN.md section 9)."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass, replace

from shared.events.base import Role
from shared.events.log import Granted, KeyRotated, Opened, Revoked
from shared.signing import key_id
from shared.words import KeyId, LogIndex, RefusedError, SourceId

ROOT_SOURCE = SourceId("admin/root")
NOTARY_SOURCE = SourceId("service/audit")


@dataclass(frozen=True, slots=True)
class Identity:
    """A key with its holder, source and roles, granted by the entry ``granted``; revoked by another or not."""

    key: KeyId
    public: bytes
    holder: str
    source: SourceId
    roles: frozenset[Role]
    granted: LogIndex
    revoked: LogIndex | None = None


def founders(opened: Opened) -> list[Identity]:
    """The two identities that the genesis entry makes: the root and the log itself."""
    root, log = base64.b64decode(opened.root_key), base64.b64decode(opened.log_key)
    first = LogIndex(0)
    return [
        Identity(key_id(root), root, "root", ROOT_SOURCE, frozenset({"root"}), first),
        Identity(key_id(log), log, "log", NOTARY_SOURCE, frozenset({"log"}), first),
    ]


def granted(data: Granted, by: Identity, known: Identity | None, index: LogIndex) -> Identity:
    """The identity a grant makes.

    Raises RefusedError when the key is taken, or the granter gives what is not theirs to give.
    """
    public = base64.b64decode(data.public_key)
    if known is not None:
        raise RefusedError(f"the key {known.key} was already granted by entry {known.granted}")
    if "administrator" in data.roles and "root" not in by.roles:
        raise RefusedError("only the root key may grant the role administrator")
    return Identity(key_id(public), public, data.holder, SourceId(data.source), frozenset(data.roles), index)


def rotated(data: KeyRotated, known: Iterable[Identity], index: LogIndex) -> tuple[Identity, Identity]:
    """The log's old identity, ended, and its new one.

    Raises RefusedError when the new key was ever anybody's: a stolen key must never come back.
    """
    public = base64.b64decode(data.public_key)
    log = None
    for one in known:
        if one.public == public:
            raise RefusedError(f"the key {one.key} was already granted by entry {one.granted}")
        if "log" in one.roles and one.revoked is None:
            log = one
    assert log is not None  # the genesis made it
    return replace(log, revoked=index), replace(log, key=key_id(public), public=public, granted=index)


def check_revocation(data: Revoked, by: Identity, known: Identity | None) -> Identity:
    """The identity that a revocation ends.

    Raises RefusedError when there is none to end, or it is not the revoker's to end.
    """
    if known is None or known.revoked is not None:
        raise RefusedError(f"there is no active key {data.key} to revoke")
    if known.roles & {"root", "log"}:
        raise RefusedError("the root key and the log's key cannot be revoked; they are rotated")
    if "administrator" in known.roles and "root" not in by.roles:
        raise RefusedError("only the root key may revoke an administrator")
    return known
