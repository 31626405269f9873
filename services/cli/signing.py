"""The command ``trail sign``: the exact record in words first, then both components, then the sealed manifestation.

Nothing of a person's key outlives one signature: each one opens it again (21 CFR 11.200(a)(1)).
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import typer

from services.audit.register import Register
from services.audit.rights import active_identity
from services.cli.access import Access, deliver
from services.cli.installation import Installation
from services.cli.output import GOOD, WRONG, as_json, complain, safe, say
from services.cli.persons import present
from services.cli.reading import reading
from services.cli.stack import broker_url
from services.console.private import Reader, destroyed_keys
from services.console.signature_words import (
    manifestation,
    record_in_words,
    signature_as_data,
    statement,
    waiting_as_data,
    what_waits,
)
from services.console.signatures import Book, Waiting, signed
from services.console.signers import role_for, waits_for
from shared.drafts import Draft
from shared.events.authority import authority
from shared.events.signatures import Meaning
from shared.identities import Identity, Person
from shared.moments import stamp
from shared.words import LogIndex, TrailError

_PATIENCE: Final = 30.0


@dataclass(frozen=True, slots=True)
class Wish:
    """One signature to give: over these entries, with this meaning."""

    meaning: Meaning
    records: tuple[LogIndex, ...]
    assumptions: tuple[str, ...] = ()


@dataclass(slots=True)
class _Desk:
    """What a person has on the desk: the log as it stands, their own identity in it, what they sign here."""

    home: Installation
    book: Book
    size: int
    register: Register
    me: Identity
    person: Person
    json: bool
    given: list[LogIndex] = field(default_factory=list)

    @classmethod
    def of(cls, directory: Path, user: str, *, json: bool) -> "_Desk":
        """Open a data directory for a person.

        Raises TrailError when the log knows nobody by that user id, or their key may not speak now.
        """
        home = Installation.open(directory)
        book, size, register = _read(home)
        person = register.people.get(user)
        if person is None:
            raise TrailError(
                f"nobody has the user id {user} in this log; an administrator gives one with identity.granted"
            )
        me = active_identity(register, person.key, present(register))
        return cls(home, book, size, register, me, person, json)

    def refresh(self) -> None:
        """Read what was sealed since."""
        self.book, self.size, self.register = _read(self.home, self)
        self.me = active_identity(self.register, self.me.key, self.now())

    @property
    def reader(self) -> Reader:
        """What private texts whoever signs here may see."""
        return Reader(destroyed_keys(self.register.erasures.values()), self.home.privacy_keys.find)

    def now(self) -> datetime:
        """The present, as the log's clock has it."""
        return present(self.register)


def sign(
    directory: Path,
    user: str,
    indices: Sequence[int],
    meaning: str | None,
    assumptions: Sequence[str] = (),
    broker: str | None = None,
    passphrase_file: Path | None = None,
    *,
    again: bool = False,
    json_: bool = False,
) -> int:
    """Sign what is named, everything that was superseded, or what waits, one by one.

    Raises TrailError when that cannot be signed by this person, AccessError when the key stays shut.
    """
    desk = _Desk.of(directory, user, json=json_)
    wishes, ask = _wishes(desk, indices, meaning, tuple(assumptions), again=again)
    if ask and (json_ or not sys.stdin.isatty()):
        return _list(desk)
    if not wishes:
        return _nothing(desk, again=again)
    access = Access(desk.home, broker or broker_url(desk.home.directory), desk.register, desk.me, passphrase_file)
    access.check()
    good = True
    for number, wish in enumerate(wishes, 1):
        if len(wishes) > 1 and not json_:
            say(f"\n[bold]{number} of {len(wishes)}[/]")
        _show(desk, wish)
        if ask:
            answer = typer.prompt("Sign this? yes, no, quit", default="no", err=True).strip().lower()
            if answer in {"q", "quit"}:
                break
            if answer not in {"y", "yes"}:
                continue
        good = _sign(desk, access, wish) and good
    if json_:
        as_json([signature_as_data(desk.book.signatures[index]) for index in desk.given])
    return GOOD if good else WRONG


def _wishes(
    desk: _Desk, indices: Sequence[int], meaning: str | None, assumptions: tuple[str, ...], *, again: bool
) -> tuple[list[Wish], bool]:
    """What is to be signed, and whether to ask before each."""
    if again and (indices or meaning is not None):
        raise TrailError("--again signs everything of yours that was superseded: leave entries and --meaning out")
    if again:
        mine = [one for one in desk.book.signatures.values() if one.user == desk.me.user and one.again]
        return list(dict.fromkeys(Wish(one.meaning, one.again, one.assumptions) for one in mine)), False
    if bool(indices) != (meaning is not None):
        raise TrailError("name the entries and --meaning together, or neither to see what waits for you")
    if meaning is None:
        waits = waits_for(desk.book, desk.me, desk.person, desk.now())
        return [Wish(one.meaning, (one.index,)) for one in waits], True
    known = next((one for one in authority().signatures if one == meaning), None)
    if known is None:
        raise TrailError(f"there is no meaning {meaning}; --meaning is one of {', '.join(authority().signatures)}")
    return [Wish(known, tuple(dict.fromkeys(map(LogIndex, indices))), assumptions)], False


def _list(desk: _Desk) -> int:
    """Say what waits where nobody can be asked about it."""
    waits = waits_for(desk.book, desk.me, desk.person, desk.now())
    if desk.json:
        as_json([waiting_as_data(one) for one in waits])
        return GOOD
    if not waits:
        return _nothing(desk, again=False)
    _tell_waiting(waits)
    say("There is no terminal to ask you here: sign with `trail sign INDEX --meaning ... --passphrase-file FILE`.")
    return GOOD


def _tell_waiting(waits: Iterable[Waiting]) -> None:
    for one in waits:
        say(f"  {safe(what_waits(one))}")


def _nothing(desk: _Desk, *, again: bool) -> int:
    if desk.json:
        as_json([])
        return GOOD
    told = "Nothing that you signed was superseded" if again else "Nothing waits for your signature"
    say(f"[green]{told}[/], {safe(desk.me.holder)}.")
    return GOOD


def _show(desk: _Desk, wish: Wish) -> None:
    """Show what is to be signed, and the sentence.

    Raises TrailError when it is not for this person to sign, or is not what stands now.
    """
    role = role_for(desk.me, wish.meaning)
    subjects = set()
    for index in wish.records:
        event = desk.book.event(index)
        if event is None:
            raise TrailError(
                f"entry {index} is none that is signed; `trail sign --user {desk.me.user}` lists those"
            )
        _check_stands(desk, index, wish)
        subjects.add(event.envelope.subject)
        for line in [] if desk.json else record_in_words(event, desk.book.author(index), desk.reader):
            say(safe(line))
    if len(subjects) > 1:
        raise TrailError("one signature is about one participant: sign these entries one by one")
    if not desk.json:
        say(f"\n[bold]{safe(statement(desk.me.holder, role, wish.meaning, wish.assumptions))}[/]")


def _check_stands(desk: _Desk, index: LogIndex, wish: Wish) -> None:
    current = desk.book.current(index, wish.meaning)
    if current != index:
        told = "it was taken back, or says nothing of that" if current is None else f"entry {current} replaces it"
        raise TrailError(f"entry {index} cannot be signed for {wish.meaning}: {told}")
    for one in desk.book.on(index):
        mine = (one.user, one.meaning, one.status) == (desk.me.user, wish.meaning, "valid")
        if mine and set(wish.assumptions) <= set(one.assumptions):
            raise TrailError(f"you have signed entry {index} for {wish.meaning} already, by entry {one.index}")


def _sign(desk: _Desk, access: Access, wish: Wish) -> bool:
    """Ask for the components, sign, wait for the receipt, and say what was sealed; whether it was admitted."""
    signer = access.open()
    # What was shown may have been changed while its reader thought about it; that must not be signed.
    desk.refresh()
    for index in wish.records:
        _check_stands(desk, index, wish)
    draft = _draft(desk, wish)
    draft.check(desk.home.trial)
    outbox = desk.home.outbox(desk.me.source)
    try:
        kept = outbox.put([draft], lambda _role: signer)
        deliver(desk.home, access.broker, desk.me.source, _PATIENCE)
        outcomes = outbox.outcomes(kept)
    finally:
        outbox.close()
    if not outcomes:
        complain(
            "The signature is kept in your outbox and NOT SEALED yet: `trail deliver` sends it. After 24 hours it "
            "has to be given again."
        )
        return False
    outcome = outcomes[0]
    if outcome.verdict != "admitted":
        complain(f"The signature was refused (entry {outcome.index}): {outcome.reason}")
        return False
    desk.refresh()
    desk.given.append(outcome.index)
    for line in [] if desk.json else manifestation(desk.book.signatures[outcome.index]):
        say(f"[green]{safe(line)}[/]")
    return True


def _draft(desk: _Desk, wish: Wish) -> Draft:
    role = role_for(desk.me, wish.meaning)
    events = [desk.book.event(index) for index in wish.records]
    data: dict[str, Any] = {
        "meaning": wish.meaning,
        "name": desk.me.holder,
        "user": desk.me.user,
        "role": role,
        "records": [{"index": one.entry.index, "leaf": one.entry.leaf.hex()} for one in events if one is not None],
    }
    if wish.assumptions:
        data["assumptions"] = list(wish.assumptions)
    subject = next((one.envelope.subject for one in events if one is not None), None)
    time = stamp(desk.now())
    return Draft(source=desk.me.source, type="record.signed", subject=subject, time=time, data=data, role=role)


def _read(home: Installation, before: _Desk | None = None) -> tuple[Book, int, Register]:
    """The log's signatures, its size and what admission remembers, read anew only where something was sealed."""
    with reading(home) as source:
        size = source.log.size()
        if before is not None and before.size == size:
            book = before.book
        else:
            book = signed(source.log.entries(0, size), source.reader())
        return book, size, source.log.register(home.trial)
