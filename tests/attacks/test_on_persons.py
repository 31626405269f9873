"""What is tried with persons' keys, in persons' names, and with the keys of systems."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.cli.installation import Installation
from services.cli.persons import new_person_key
from shared.drafts import Draft
from shared.entry import Entry
from shared.envelope import read_envelope
from shared.identities import ROOT_SOURCE
from shared.key_files import LEAST
from shared.moments import stamp
from shared.person_keys import PersonKey
from shared.signing import Signer, SigningKey
from shared.words import SourceId
from tests.attacks.scene import A, Trial, copied, entries, running, trail
from tests.notary import text_key

PERSON = "701-003"
USER, NAME, PHRASE = "a.ivanova", "Anna Ivanova", "harbour ladder quince tomorrow"
NAUSEA = {"term": "Nausea", "onset": "2026-03-02", "grade": 2, "causality": "possible", "serious": []}

ADMINISTERED: dict[str, Any] = {"source": ROOT_SOURCE, "subject": None}


class Office:
    """A running trial with an investigator of site 701, and a thief who sends what our commands would not."""

    def __init__(self, trial: Trial, anna: Signer) -> None:
        self.trial = trial
        self.home = trial.home
        self.anna = anna
        self.system = self.home.key("site-701")
        self.root = self.home.key("root")

    def send(self, signer: Signer, type_: str, data: dict[str, Any], **more: Any) -> Entry:
        """The entry that an event becomes, signed with that key, sent as the site; about the person if not else."""
        said = {"source": A, "subject": PERSON, "time": stamp(datetime.now(UTC))} | more
        draft = Draft(type=type_, data=data, **said)
        source = SourceId(draft.source)
        with closing(self.home.outbox(source)) as outbox:
            (number,) = outbox.put([draft], lambda _role: signer)
            assert self.trial.on_line(lambda connected: connected.deliver([source], timeout=60))
            (came,) = outbox.outcomes([number])
        return entries(self.home)[came.index]

    def report(self, ae: str, **more: Any) -> Entry:
        """An adverse event that the site's system reports."""
        entry = self.send(self.system, "safety.event_reported", NAUSEA | {"ae": ae} | more)
        assert entry.admitted, entry.header.reason
        return entry

    def sign(self, record: Entry, signer: Signer | None = None, **changes: Any) -> Entry:
        """A signature over what the investigator is said to have read."""
        more = {"time": changes.pop("time")} if "time" in changes else {}
        records = [{"index": record.index, "leaf": record.leaf.hex()}]
        data = {
            "meaning": "grade",
            "name": NAME,
            "user": USER,
            "role": "investigator",
            "records": records,
        } | changes
        return self.send(signer or self.anna, "record.signed", data, **more)


@pytest.fixture(scope="module")
def office(original: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with running(copied(original, tmp_path_factory.mktemp("persons") / "trial")) as trial:
        key = PersonKey(new_person_key(trial.home, USER).path, cost=LEAST)
        key.create(USER, NAME, PHRASE, datetime.now(UTC))
        office = Office(trial, key.open(USER, PHRASE, datetime.now(UTC)))
        granted: dict[str, Any] = {
            "holder": NAME,
            "source": A,
            "roles": ["investigator"],
            "user": USER,
            "sites": ["701"],
        }
        granted["public_key"] = text_key(office.anna)  # type: ignore[arg-type]
        assert office.send(office.root, "identity.granted", granted, **ADMINISTERED).admitted
        yield office
        verified = trail("verify", trial.home.directory)
        assert verified.code == 0, verified.text


def refused(entry: Entry, sentence: str) -> None:
    assert not entry.admitted
    assert sentence in entry.header.reason


def test_guessing_the_passphrase_of_a_stolen_key_file(office: Office, tmp_path: Path) -> None:
    record = office.report("guessed")
    path = office.home.directory / "keys" / f"{USER}.key"
    secret = tmp_path / "secret"
    ask = ("sign", str(record.index), "--meaning", "grade", "--user", USER, "--passphrase-file", secret)
    for guess in ("harbour", "ladder", "quince", "tomorrow", "harbour ladder quince"):
        secret.write_text(guess)
        told = trail(*ask, "--data", office.home.directory)
        assert told.code == 2
        assert "ALARM: 1 failed attempts to open the key of a.ivanova" in told.text
    secret.write_text(PHRASE)
    told = trail(*ask, "--data", office.home.directory)
    assert (told.code, "is suspended since entry" in told.text) == (2, True), "the right one opens nothing either"
    failed = [one for one in entries(office.home) if one.header.subject.endswith("identity.access_failed")]
    assert [read_envelope(one.body).data["locked"] for one in failed] == [False] * 4 + [True]
    assert trail("key", "unlock", path).code == 0
    again = {"key": office.anna.id, "why": "it was not she"}
    assert office.send(office.root, "identity.reinstated", again, **ADMINISTERED).admitted


def test_a_signature_moved_to_another_record(office: Office) -> None:
    read, other = office.report("read"), office.report("moved", grade=4)
    moved = [{"index": other.index, "leaf": read.leaf.hex()}]
    refused(office.sign(read, records=moved), f"entry {other.index} does not have leaf hash {read.leaf.hex()}")


def test_a_record_changed_after_it_was_signed(office: Office) -> None:
    record = office.report("changed")
    assert office.sign(record).admitted
    number = read_envelope(record.body).id
    office.report("changed", grade=3, corrects=number, reason="misread")
    told = trail("show", "participant", PERSON, "--data", office.home.directory).text
    assert "superseded" in told


def test_a_signature_from_before_its_record(office: Office) -> None:
    record = office.report("backdated")
    earlier = stamp(datetime.now(UTC) - timedelta(hours=2))
    refused(office.sign(record, time=earlier), "nothing is signed before it exists")


def test_a_person_signed_for_by_a_system(office: Office) -> None:
    record = office.report("system")
    refused(office.sign(record, office.system), "record.signed may be submitted by")


def test_a_signature_in_another_persons_name(office: Office) -> None:
    record = office.report("name")
    colleague = office.home.key("site-701-investigator")
    refused(office.sign(record, colleague), "a signature shows the signer's own user id and name, as granted")


def test_rights_that_a_person_gives_themselves(office: Office) -> None:
    rights = {"key": office.anna.id, "roles": ["investigator", "administrator"], "why": "because I can"}
    refused(
        office.send(office.anna, "identity.changed", rights, subject=None), "identity.changed may be submitted by"
    )
    mine = {
        "public_key": text_key(SigningKey.generate()),
        "holder": NAME,
        "source": "admin/anna",
        "roles": ["administrator"],
        "user": "a.ivanova.2",
    }
    refused(
        office.send(office.anna, "identity.granted", mine, subject=None), "identity.granted may be submitted by"
    )


def test_a_key_given_to_a_person_in_order_to_sign_as_her(office: Office) -> None:
    """The holder of the root's key gives an investigator one that only they can use, and confirms it."""
    record, made = office.report("given"), SigningKey.generate()
    colleague = office.home.key("site-701-investigator")
    given = {"key": colleague.id, "public_key": text_key(made), "why": "lost, they say"}
    assert office.send(office.root, "identity.key_replaced", given, **ADMINISTERED).admitted
    as_her = {"name": "Investigator of site/701", "user": "investigator.701"}
    refused(office.sign(record, made, **as_her), "waits until somebody else than who gave it confirms that")
    alone = office.send(office.root, "identity.reinstated", {"key": made.id, "why": "sure"}, **ADMINISTERED)
    refused(alone, "somebody else must confirm that with identity.reinstated")


def test_one_person_who_signs_what_needs_two(office: Office) -> None:
    order = office.send(office.anna, "privacy.erasure_ordered", {"why": "asked for"})
    for _ in range(2):
        assert office.sign(order, meaning="erasure").admitted
    asked = trail("erase", PERSON, "--data", office.home.directory)
    assert (asked.code, "1 more of 2 different persons must sign" in asked.text) == (1, True), asked.text
    key = {"ordered": order.index, "key": "0" * 32}
    refused(office.send(office.system, "privacy.erased", key), "persons")


def test_a_revoked_persons_signature(office: Office) -> None:
    """The last: she speaks no more."""
    record = office.report("revoked")
    gone = {"key": office.anna.id, "why": "left the site"}
    assert office.send(office.root, "identity.revoked", gone, **ADMINISTERED).admitted
    refused(office.sign(record), "was revoked by entry")
