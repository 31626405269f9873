"""A data directory: everything of one trial on one machine, self-contained.

trial.json                 what the log is for, and its public keys
policy                     whose cosignatures make a checkpoint valid (a C2SP tlog-policy)
timestamping.json          which authorities stamp checkpoints, if any do
protocol.yaml              the protocol as adopted first, to read (the log holds it too)
keys/                      private keys, readable by their owner only (log-*.pem: the log's later ones; *.nk: the
                           keys that the broker knows people by)
broker-access/             whom the broker lets in, if it tells its users apart, and its certificate
audit/log.sqlite           the log
checkpoints/               signed checkpoints, apart from the log on purpose
tiles/                     what is published: tiles and entry bundles (C2SP tlog-tiles)
witness/                   this machine's own witness; a real one belongs to another organisation
screening/, safety/        each deciding service's state and outbox
outbox/                    the outboxes of the sources on this machine
privacy/                   the participants' privacy keys, to be destroyed when the law says so (docs/privacy.md)
broker/                    JetStream's files
run/                       what is running now, and its logs
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from services.audit.places import Places
from services.witness.witness import Witness
from shared.broker import Topology
from shared.broker_keys import Credentials, make_seed, public_of, read_seed
from shared.database import as_role
from shared.drafts import Draft
from shared.events import Role
from shared.events.identity import KINDS_OF_ROLE, SYSTEM_ROLES
from shared.identities import ROOT_SOURCE
from shared.log_keys import LogKeys
from shared.note import NoteKey
from shared.outbox import Outbox
from shared.policy import Policy
from shared.policy import Witness as WitnessOf
from shared.privacy_keys import PrivacyKeys
from shared.private_drafts import PrivateDrafts
from shared.signing import Signer, SigningKey
from shared.words import SourceId, TrailError, source_kind

LOCAL_WITNESS: Final = "local"
DECIDING: Final[Mapping[Role, str]] = {"screening": "Screening service", "safety": "Safety service"}
"""The deciding services: each has its role's name, speaks for a source of that name, and this holder answers."""

Clock = Literal["system", "simulated"]


@dataclass(frozen=True, slots=True)
class Installation:
    """One trial's data directory.

    ``log_key`` is the log's first key; ``rotations`` are its later ones, each with the size from which it signs.
    ``database`` is the URL, without a role, of the PostgreSQL database that holds the log and the services' state;
    empty where these are SQLite files.

    In a ``practice`` log the command makes plain keys for whoever a draft needs, persons too; no
    participant of a trial belongs in one.
    """

    directory: Path
    trial: str
    log_key: NoteKey
    clock: Clock
    rotations: tuple[tuple[int, NoteKey], ...] = ()
    practice: bool = False
    database: str = ""

    @classmethod
    def open(cls, directory: Path) -> "Installation":
        """Open a data directory.

        Raises TrailError when it is not one.
        """
        try:
            known = json.loads((directory / "trial.json").read_text("utf-8"))
            rotations = tuple((one["from"], NoteKey.parse(one["log_key"])) for one in known.get("rotations", []))
            first = NoteKey.parse(known["log_key"])
            practice = known.get("practice") is True or known["clock"] == "simulated"
            database = known.get("database", "")
            return cls(directory.resolve(), known["trial"], first, known["clock"], rotations, practice, database)
        except FileNotFoundError:
            raise TrailError(
                f"{directory} is not a data directory (it has no trial.json); start one with `trail up --data "
                f"{directory}` or name another with --data"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise TrailError(f"{directory / 'trial.json'} cannot be read; restore it from a back-up") from None

    def rotated(self, start: int, key: NoteKey) -> "Installation":
        """Remember that the log's checkpoints over ``start`` entries and more are signed with another key.

        The earlier keys are taken out of the policy, and this machine's own witness forgets them: one that was
        stolen is good for nothing then.
        """
        self.expect(key)
        policy = self.policy()
        if policy is not None:
            self._write_policy(replace(policy, logs=(key,)))
        if self.local_witness() is not None:
            Witness.at(self.witness_path, logs=[key], forget=self.log.all()).close()
        changed = replace(self, rotations=(*self.rotations, (start, key)))
        changed.write()  # last: an interrupted run is finished by the next
        return changed

    def expect(self, key: NoteKey) -> None:
        """Have the policy name a log key that is about to sign, and this machine's own witness trust it.

        Before it signs: else the witness would turn its first checkpoints away. Others have to be told.
        """
        policy = self.policy()
        if policy is not None and key not in policy.logs:
            self._write_policy(replace(policy, logs=(*policy.logs, key)))
        if self.local_witness() is not None:
            Witness.at(self.witness_path, logs=[key]).close()

    def write(self) -> None:
        """Write trial.json: from then on the directory is one."""
        known: dict[str, object] = {"trial": self.trial, "log_key": self.log_key.vkey(), "clock": self.clock}
        if self.practice:
            known["practice"] = True
        if self.database:
            known["database"] = self.database
        if self.rotations:
            known["rotations"] = [{"from": start, "log_key": key.vkey()} for start, key in self.rotations]
        draft = self.directory / "trial.json.new"
        draft.write_text(json.dumps(known, indent=2) + "\n", "utf-8")
        draft.replace(self.directory / "trial.json")

    @property
    def witness_path(self) -> Path:
        """Where this machine's own witness lives."""
        return self.directory / "witness"

    @property
    def policy_path(self) -> Path:
        """The tlog-policy that this machine's notary and auditors go by."""
        return self.directory / "policy"

    @property
    def timestamping_path(self) -> Path:
        """Which authorities stamp checkpoints; the file is there only if any do."""
        return self.directory / "timestamping.json"

    @property
    def tiles_path(self) -> Path:
        """Where tiles are published."""
        return self.directory / "tiles"

    def policy(self) -> Policy | None:
        """The policy of this installation; None where there is none.

        Raises TrailError when it cannot be read as one.
        """
        try:
            return Policy.parse(self.policy_path.read_text("utf-8"))
        except FileNotFoundError:
            return None

    def local_witness(self) -> WitnessOf | None:
        """This machine's own witness, if the policy asks for it."""
        policy = self.policy()
        one = None if policy is None else policy.witnesses.get(LOCAL_WITNESS)
        return one if one is not None and self.witness_path.exists() else None

    def move_witness(self, url: str) -> None:
        """Write into the policy where this machine's own witness is asked from now on."""
        policy = self.policy()
        assert policy is not None
        moved = replace(policy.witnesses[LOCAL_WITNESS], url=url)
        changed = replace(policy, witnesses={**policy.witnesses, LOCAL_WITNESS: moved})
        self._write_policy(changed)

    def _write_policy(self, policy: Policy) -> None:
        draft = self.policy_path.with_suffix(".new")
        draft.write_text(policy.text(), "utf-8")
        draft.replace(self.policy_path)

    @property
    def log(self) -> LogKeys:
        """The log's keys as this machine knows them, to check receipts with."""
        keys = [(0, self.log_key.public), *((start, key.public) for start, key in self.rotations)]
        return LogKeys(self.log_key.name, tuple(keys))

    @property
    def privacy_keys(self) -> PrivacyKeys:
        """The participants' privacy keys of this machine."""
        return PrivacyKeys(self.directory / "privacy")

    @property
    def privacy(self) -> PrivateDrafts:
        """How this machine's sources keep personal texts private.

        By default only where the clock is real: a simulated log holds synthetic data, which people are to read.
        """
        return PrivateDrafts(self.privacy_keys, self.trial, by_default=self.clock == "system")

    @property
    def topology(self) -> Topology:
        """The trial's names on the broker."""
        return Topology(self.trial)

    @property
    def places(self) -> Places:
        """Where the log and its checkpoints are, for whoever reads them."""
        return self.places_for("reader")

    def places_for(self, role: str) -> Places:
        """The same for one of the database's roles."""
        if not self.database:
            return Places.in_files(self.audit_path)
        return Places.in_database(self.database_url(role), self.trial)

    def database_url(self, role: str) -> str:
        """The database's URL for one of the trial's roles, whose password is on this machine or with libpq."""
        return as_role(self.database, self.trial, role, self.directory / "keys")

    @property
    def audit_path(self) -> Path:
        """The notary's own directory."""
        return self.directory / "audit"

    def outbox(self, source: SourceId) -> Outbox:
        """The outbox of a source on this machine."""
        return Outbox.at(self.outbox_path(source), source, self.trial)

    def outbox_path(self, source: SourceId) -> Path:
        """Where a source's outbox is, if it posts from this machine."""
        return self.directory / "outbox" / f"{source.replace('/', '-')}.sqlite"

    def key(self, name: str) -> Signer:
        """What signs with a key, by its file's name.

        Raises TrailError when it is not there.
        """
        return SigningKey.load(self.directory / "keys" / f"{name}.pem")

    @property
    def broker_access_path(self) -> Path:
        """The broker's configuration and certificate, where it tells its users apart."""
        return self.directory / "broker-access"

    @property
    def broker_ca_path(self) -> Path:
        """The certificate of the authority that vouches for the broker: what clients get."""
        return self.broker_access_path / "ca.pem"

    @property
    def accounts_path(self) -> Path:
        """Whom the broker lets in; there only if it tells its users apart."""
        return self.broker_access_path / "accounts.conf"

    @property
    def is_guarded(self) -> bool:
        """Whether the broker tells its users apart."""
        return self.accounts_path.exists()

    def broker_key_path(self, name: str) -> Path:
        """Where the broker key beside the key of that file name is."""
        return self.directory / "keys" / f"{name}.nk"

    def credentials(self, name: str) -> Credentials | None:
        """How whoever holds the key of that file name gets into the broker; None if it asks nobody who he is."""
        return Credentials(self.broker_key_path(name), self.broker_ca_path) if self.is_guarded else None

    def broker_key(self, name: str) -> str | None:
        """The public part of the broker key beside the key of that file name, made where there is none.

        None in a study of the past, whose broker asks nobody who he is.
        """
        if self.clock == "simulated":
            return None
        path = self.broker_key_path(name)
        return public_of(read_seed(path)) if path.exists() else make_seed(path)

    def key_name(self, source: SourceId, role: Role) -> str:
        """The file name of the key that speaks for a source in a role."""
        if role in {"root", "log"}:
            return role
        name = source.replace("/", "-")
        return f"{name}-investigator" if role == "investigator" else name

    def has_key(self, source: SourceId, role: Role) -> bool:
        """Whether this machine holds that key."""
        return (self.directory / "keys" / f"{self.key_name(source, role)}.pem").exists()

    def grant(self, source: SourceId, role: Role, holder: str, time: str, key: SigningKey | None = None) -> Draft:
        """Make a key for a source and draft the root's grant of it.

        Raises TrailError when it may not be made (see ``check_may_make``), or is there already.
        """
        self.check_may_make(source, role)
        made, name = key or SigningKey.generate(), self.key_name(source, role)
        made.save(self.directory / "keys" / f"{name}.pem")
        data = granted(made, source, role, holder, self.broker_key(name))
        return Draft(source=ROOT_SOURCE, type="identity.granted", time=time, data=data)

    def check_may_make(self, source: SourceId, role: Role) -> None:
        """Raise TrailError when the role does not go with the source, or the key would be a person's.

        Those are opened by a passphrase, except for practice.
        """
        if source_kind(source) not in KINDS_OF_ROLE.get(role, ()):
            raise TrailError(f"a key with role {role} cannot speak for {source}")
        if user_of(source, role) is not None and not self.practice:
            raise TrailError(
                f"there is no key for the {role} of {source}, and a person's key is opened by that person's "
                "passphrase: grant it with `trail identity grant`, and let them post with `trail submit --by`. "
                "(Only in a log begun with `trail up --practice` are such keys made for you.)"
            )


def granted(
    key: Signer, source: SourceId, role: Role, holder: str, broker_key: str | None = None
) -> dict[str, object]:
    """The data of an identity.granted event."""
    grant: dict[str, object] = {
        "public_key": base64.b64encode(key.public).decode(),
        "holder": holder,
        "source": source,
        "roles": [role],
    }
    user = user_of(source, role)
    named = {"user": user, "broker_key": broker_key}
    return grant | {name: value for name, value in named.items() if value is not None}


def user_of(source: SourceId, role: Role) -> str | None:
    """The user id of whoever speaks for a source in a role, where nobody gave one; None for a system."""
    if role in SYSTEM_ROLES or role == "sponsor":
        return None
    return f"{role}.{source.partition('/')[2]}".lower()[:32]
