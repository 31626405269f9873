"""One rule says what every view shows in the place of a private text."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.audit.register import Erasure
from services.cli.show import entry_as_json
from services.console.bundle.pages import Cover, record
from services.console.private import Reader, destroyed_keys
from services.console.signatures import signed
from services.console.words import in_words
from shared.decider import SealedEvent, read_event
from shared.private_text import RANDOM_BYTES, PrivacyKey, encrypt
from shared.words import LogIndex, ParticipantId
from tests.notary import PERSON, TRIAL, Office

KEY = PrivacyKey.of(bytes(range(48)))
PARTICIPANT = ParticipantId(PERSON)
TOLD = "moved to Rose Street <b>"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office.founded(tmp_path)
    office.register()
    yield office
    office.notary.close()


def withdrawn(office: Office, why: str) -> SealedEvent:
    entry = office.post("screening.withdrawn", {"on": "2026-03-03", "why": why}, subject=PERSON)
    assert entry.admitted, entry.header.reason
    event = read_event(entry)
    assert event is not None
    return event


def sealed(text: str = TOLD, participant: str = PERSON) -> str:
    return encrypt(text, KEY, TRIAL, participant, bytes(RANDOM_BYTES)).value()


def holder(participant: ParticipantId, key: str) -> PrivacyKey | None:
    return KEY if (participant, key) == (PARTICIPANT, KEY.id) else None


ERASED = destroyed_keys(
    [Erasure(PARTICIPANT, ("site/701", "x"), keys=((KEY.id, LogIndex(77)), (KEY.id, LogIndex(99))))]
)


@pytest.mark.parametrize(
    ("reader", "shown"),
    [
        (Reader({}, holder), TOLD),
        (Reader(), "(private; no key here)"),
        (Reader(ERASED), "(erased by entry 77)"),
        (Reader(ERASED, holder), "(erased by entry 77)"),  # a copy of the key that still lies somewhere
        (Reader({(ParticipantId("701-002"), KEY.id): LogIndex(77)}, holder), TOLD),  # said of somebody else
    ],
)
def test_a_private_text_is_read_where_its_key_is_and_nowhere_else(
    office: Office, reader: Reader, shown: str
) -> None:
    assert in_words(withdrawn(office, sealed()), reader) == f"withdrew from the trial on 2026-03-03: {shown}"


def test_readable_text_stays_as_it_was(office: Office) -> None:
    event = withdrawn(office, "no time (private matters)")
    assert Reader().shown(event) is event


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (sealed(participant="701-002"), "(private; it does not open with its key"),
        ("private:1:nonsense", "(private; not of a form that can be read)"),
    ],
)
def test_what_cannot_be_read_says_so_and_stops_nobody(office: Office, value: str, shown: str) -> None:
    assert shown in in_words(withdrawn(office, value), Reader({}, holder))


def test_the_record_in_a_bundle_never_holds_a_private_text(office: Office) -> None:
    event = withdrawn(office, sealed())
    cover = Cover(TRIAL, "all", "checkpoint", "key", [], [])
    for destroyed, shown in (({}, b"(private; no key here)"), (ERASED, b"(erased by entry 77)")):
        page = b"".join(record(cover, [event.entry], {}, destroyed, signed([event.entry])))
        assert shown in page
        assert b"Rose Street" not in page
    assert sealed() in entry_as_json(event.entry)["body"], "the exact bytes are the evidence"
