"""The command `trail erase`: a participant's privacy keys are destroyed, as an order that two persons signed says.

Killed anywhere, it goes on when it is run again: what is next is read from the log, the tombstone and the outbox.

1. order     privacy.erasure_ordered is sealed
2. sign      two persons sign it with the meaning erasure; until then nothing is touched
3. condemn   a tombstone on disk names the keys: none of them is used any more, whatever happens next
4. destroy   the keys are overwritten and unlinked
5. say so    privacy.erased is sealed, one for each key
"""

import asyncio
from collections.abc import Sequence

from services.audit.erasure import persons_needed
from services.audit.register import Erasure, Register
from services.cli.delivery import line
from services.cli.installation import Installation
from services.cli.output import GOOD, WRONG, complain, progress, safe, say
from services.cli.persons import present, register_of
from services.cli.reading import Reading, reading, settled_size
from services.cli.speaking import Speaker
from services.cli.stack import broker_url
from shared.drafts import Draft
from shared.events import Role
from shared.events.authority import authority
from shared.moments import stamp
from shared.outbox import Outcome
from shared.privacy_keys import Tombstone
from shared.words import LogIndex, ParticipantId, SourceId, TrailError, source_kind

_PATIENCE = 30.0
_ORDERS: dict[str, Role] = {"site": "investigator", "sponsor": "sponsor"}
_CARRIES_OUT: dict[str, Role] = {"site": "site_system", "sponsor": "sponsor"}


def erase(code: str, why: str | None, source: str | None, speaker: Speaker) -> int:
    """Go as far towards erasing a participant's personal detail as can be gone now, and say what is still needed.

    Who orders it is the speaker, where that is a person; else whoever speaks for ``source`` here orders it.

    Exit code GOOD only when it is done: WRONG when signatures are missing or the log refuses. Raises TrailError
    when it cannot go on: nobody of that code, no order and no reason for one, no key to speak with, no broker.
    """
    work = _Work(speaker.home, ParticipantId(code), speaker.broker)
    at = work.home_source()
    speaks = at if source is None else SourceId(source)
    work.deliver_waiting(speaks)
    found = work.order()
    if found is None:
        if not work.give_order(speaks, why, speaker):
            return WRONG
        found = work.order()
        assert found is not None  # a receipt has come: it is in the log
    index, order = found
    if len(order.signers) < persons_needed():
        _tell_who_must_sign(index, order)
        return WRONG
    work.check_speaker(speaks)
    stone = work.destroy(index)
    missing = [key for key in stone.keys if key not in {known for known, _ in order.keys}]
    if missing and not work.post(speaks, [work.saying_so(speaks, stone, key) for key in missing]):
        return WRONG
    _tell_done(code, index, stone)
    return GOOD


class _Work:
    """The steps, on one data directory and about one participant."""

    def __init__(self, home: Installation, participant: ParticipantId, broker: str | None) -> None:
        self.home = home
        self.participant = participant
        self.keys = home.privacy_keys
        self._broker = broker

    def home_source(self) -> SourceId:
        """The source that registered the participant.

        Raises TrailError when nobody did.
        """
        with reading(self.home) as source:
            site = source.log.register(self.home.trial).participants.get(self.participant)
        if site is None:
            raise TrailError(f"there is no participant {self.participant} in this log; `trail replay` lists them")
        return site

    def order(self) -> tuple[LogIndex, Erasure] | None:
        """The order to go by: the one already begun here, else the one that most have signed; sealed, or none.

        Raises TrailError when the log's end is not signed by its notary: no seal, no erasure.
        """
        with reading(self.home) as source:
            register = source.log.register(self.home.trial)
            _check_sealed(source)
        return self._chosen(register)

    def _chosen(self, register: Register) -> tuple[LogIndex, Erasure] | None:
        stone = self.keys.tombstone(self.participant)
        if stone is not None and stone.ordered in register.erasures:
            return stone.ordered, register.erasures[stone.ordered]
        standing = [
            (index, order)
            for index, order in sorted(register.erasures.items())
            if order.participant == self.participant and not order.withdrawn
        ]
        return max(standing, key=lambda one: len(one[1].signers), default=None)

    def give_order(self, speaks: SourceId, why: str | None, speaker: Speaker) -> bool:
        """Have the order sealed; whether it was admitted.

        Raises TrailError when there is no reason, or nobody here who may give it.
        """
        if why is None:
            raise TrailError("nobody has ordered this yet: say why with --why, and nothing personal in it")
        if speaker.by is not None:
            ordered = speaker.seal("privacy.erasure_ordered", {"why": why}, self.participant)
            return ordered.verdict == "admitted"
        role = self._role(speaks, _ORDERS)
        draft = Draft(
            source=speaks,
            type="privacy.erasure_ordered",
            subject=self.participant,
            time=self._now(),
            data={"why": why},
            role=role,
        )
        draft.check(self.home.trial)
        return self.post(speaks, [draft])

    def check_speaker(self, speaks: SourceId) -> None:
        """Raise TrailError when nobody here could say that the keys are destroyed."""
        self._role(speaks, _CARRIES_OUT)

    def destroy(self, order: LogIndex) -> Tombstone:
        """Condemn and destroy every key of the participant here; again where it was begun before."""
        stone = self.keys.condemn(self.participant, order, self._now())
        self.keys.destroy(self.participant)
        return stone

    def saying_so(self, speaks: SourceId, stone: Tombstone, key: str) -> Draft:
        """That a key is destroyed, as a draft: the same each time, so that it is posted once."""
        return Draft(
            source=speaks,
            type="privacy.erased",
            subject=self.participant,
            time=stone.time,
            data={"ordered": stone.ordered, "key": key},
            role=self._role(speaks, _CARRIES_OUT),
        )

    def post(self, speaks: SourceId, drafts: Sequence[Draft]) -> bool:
        """Post drafts of a source and wait for their receipts; whether all were admitted.

        Raises TrailError when the receipts do not come: the drafts wait in the outbox then.
        """
        with progress("waiting for the receipt", None):
            outcomes = asyncio.run(self._post(speaks, drafts))
        for one in outcomes:
            if one.verdict == "refused":
                complain(f"entry {one.index} was refused: {one.reason}")
        return all(one.verdict == "admitted" for one in outcomes)

    def deliver_waiting(self, speaks: SourceId) -> None:
        """Have sealed what an earlier, interrupted run left in the outbox."""
        if self.home.outbox_path(speaks).exists():
            outbox = self.home.outbox(speaks)
            waits = any(one.route.startswith("privacy.") for one in outbox.waiting(1000))
            outbox.close()
            if waits:
                self.post(speaks, [])

    async def _post(self, speaks: SourceId, drafts: Sequence[Draft]) -> list[Outcome]:
        async with line(self.home, self._broker or broker_url(self.home.directory)) as connected:
            kept = connected.post.put(drafts)
            if not await connected.deliver([speaks], timeout=_PATIENCE):
                raise TrailError("it is kept in the outbox, but no receipt has come; run this again later")
            return [outcome for _, outcome in connected.post.outcomes(kept)]

    def _role(self, speaks: SourceId, roles: dict[str, Role]) -> Role:
        role = roles.get(source_kind(speaks))
        if role is None:
            raise TrailError(f"{speaks} may not erase: a site does, or the sponsor; name one with --source")
        if not self.home.has_key(speaks, role):
            raise TrailError(
                f"there is no key of the {role} of {speaks} here: order it as yourself with --by, name another "
                "--source, or have the event posted where that key is (`trail submit`) and run this again"
            )
        return role

    def _now(self) -> str:
        return stamp(present(register_of(self.home)))


def _check_sealed(source: Reading) -> None:
    size = source.log.size()
    settled_size(source)
    latest = source.checkpoints.latest()
    if latest is None or latest[0] < size:
        raise TrailError("the log's last entries are not signed by its notary yet; start it with `trail up`")


def _tell_who_must_sign(index: LogIndex, order: Erasure) -> None:
    needed, roles = persons_needed(), authority().signatures["erasure"].roles
    signed = f"signed by {', '.join(map(safe, order.signers))}" if order.signers else "not signed yet"
    say(f"Entry {index} orders the erasure; it is {signed}. [yellow]Nothing is erased yet.[/]")
    say(
        f"{needed - len(order.signers)} more of {needed} different persons must sign entry {index} with the "
        f"meaning erasure ({', '.join(sorted(roles))}): `trail sign`. Then run this again."
    )


def _tell_done(code: str, index: LogIndex, stone: Tombstone) -> None:
    if not stone.keys:
        say(
            f"There was no key of participant {safe(code)} here, so nothing to destroy. From now on this machine "
            "makes none."
        )
        return
    say(
        f"[green]Erased[/], as entry {index} orders: the privacy key of participant {safe(code)} is destroyed, and "
        "the log says so."
    )
    say(
        "What was sealed under it stays in the log as ciphertext that nobody can read, so every proof still holds. "
        "[yellow]Copies of the key elsewhere are not reached[/]: back-ups, monitors, the sponsor (docs/privacy.md)."
    )
