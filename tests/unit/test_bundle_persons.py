"""What a bundle's two verifiers make of persons: keys suspended, expired and replaced, and whose name is shown."""

from collections.abc import Callable
from typing import Any

import pytest

from services.console.bundle import verify
from tests.notary import (
    ADMINISTRATOR,
    INVESTIGATOR,
    LOG,
    OBSERVED,
    ORIGIN,
    ROOT,
    SITE,
    TRIAL,
    grant,
    seeded_key,
    signature,
    text_key,
)
from tests.page import NODE, judged_by_page
from tests.unit.test_bundle_ledger import Liar

SECOND = seeded_key("the investigator's second key")
AT = "2026-03-04T09:00:00.00000{}Z"
WHY = {"key": INVESTIGATOR.id, "why": "so it was decided"}


class Persons(Liar):
    """A log with an investigator, and a notary that admits whatever it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.grant()

    def grant(self, **more: Any) -> None:
        self.seal("identity.granted", grant(INVESTIGATOR, "site/701", "investigator") | more, key=ROOT)

    def speak(self, key: Any = INVESTIGATOR) -> None:
        """The investigator says something."""
        self.seal("screening.observed", OBSERVED, key=key)

    def sign(self, **changes: Any) -> None:
        """The investigator signs the entry before."""
        header = changes.pop("header", None)
        key = changes.pop("key", INVESTIGATOR)
        self.seal("record.signed", signature(self.entries[-1], **changes), key=key, header=header)

    def publics(self) -> dict[str, bytes]:
        keys = (ROOT, LOG, SITE, INVESTIGATOR, SECOND, ADMINISTRATOR)
        return {key.id: key.public for key in keys}


Judge = Callable[[Persons], tuple[str, list[dict[str, Any]]]]


def by_python(liar: Persons) -> tuple[str, list[dict[str, Any]]]:
    ledger, publics = verify.Ledger(TRIAL, ORIGIN), liar.publics()
    try:
        for entry in liar.entries:
            read = verify.read_entry(entry.raw, entry.index)
            head = read.header
            ledger.take(read, signed=verify.is_signed((publics.get(head["key"]), head["sig"], read.body)))
    except verify.Broken as error:
        return str(error), []
    return "", list(ledger.identities.values())


def by_page(liar: Persons) -> tuple[str, list[dict[str, Any]]]:
    return judged_by_page(TRIAL, ORIGIN, liar.entries, liar.publics())


@pytest.fixture(params=[by_python, by_page], ids=["verify.py", "verify.html"])
def judge(request: pytest.FixtureRequest) -> Judge:
    if request.param is by_page and NODE is None:
        pytest.skip("Node.js is not installed")
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def liar() -> Persons:
    return Persons()


def test_a_replaced_key_is_learned_and_the_old_one_speaks_no_more(judge: Judge, liar: Persons) -> None:
    liar.seal("identity.key_replaced", WHY | {"public_key": text_key(SECOND)}, key=ROOT)
    liar.seal("identity.reinstated", {"key": SECOND.id, "why": "it is theirs"}, key=ROOT)
    liar.speak(SECOND)
    liar.sign(key=SECOND)
    told, identities = judge(liar)
    assert told == ""
    old, new = (one for one in identities if one["holder"] == "holder of site/701" and one.get("user"))
    assert (old["key"], old["revoked"], new["key"], new["revoked"]) == (INVESTIGATOR.id, 4, SECOND.id, None)
    assert (new["user"], new["source"], new["roles"]) == (old["user"], old["source"], old["roles"])
    liar.speak(INVESTIGATOR)
    assert judge(liar)[0] == "entry 8 is admitted, but its key was revoked by entry 4"


def test_a_key_that_was_given_speaks_only_when_it_was_confirmed(judge: Judge, liar: Persons) -> None:
    liar.seal("identity.key_replaced", WHY | {"public_key": text_key(SECOND)}, key=ROOT)
    liar.speak(SECOND)
    assert judge(liar)[0] == "entry 5 is admitted, but its key was suspended by entry 4"


def test_a_suspended_key_speaks_again_only_when_it_is_reinstated(judge: Judge, liar: Persons) -> None:
    liar.seal("identity.suspended", WHY, key=ROOT)
    liar.seal("identity.reinstated", WHY, key=ROOT)
    liar.speak()
    assert judge(liar)[0] == ""
    liar.seal("identity.suspended", WHY, key=ROOT)
    liar.speak()
    assert judge(liar)[0] == "entry 8 is admitted, but its key was suspended by entry 7"


@pytest.mark.parametrize("locked", [True, False])
def test_a_key_that_guessing_locked_is_suspended(judge: Judge, liar: Persons, locked: bool) -> None:
    failed = {"key": INVESTIGATOR.id, "failures": 5, "first": AT.format(1), "last": AT.format(2), "locked": locked}
    liar.seal("identity.access_failed", failed)
    liar.speak()
    assert judge(liar)[0] == ("entry 5 is admitted, but its key was suspended by entry 4" if locked else "")


@pytest.mark.parametrize(
    ("until", "holds"),
    [
        (AT.format(5), True),  # entry 4 is sealed at the fourth microsecond
        (AT.format(4), False),
        ("2026-03-04T17:00:00.000004+08:00", False),
        ("2026-03-04T17:00:00.0000049+08:00", False),
        ("2026-03-04T17:00:01+08:00", True),
    ],
)
def test_a_key_speaks_until_just_before_it_expires(judge: Judge, until: str, holds: bool) -> None:
    liar = Persons()
    liar.entries.pop()
    liar.numbers["admin/root"] -= 1
    liar.grant(until=until)
    liar.speak()
    told = judge(liar)[0]
    assert told == ("" if holds else f"entry 4 is admitted, but its key expired at {until}")


def test_what_was_changed_counts_from_then_on(judge: Judge, liar: Persons) -> None:
    liar.seal("identity.changed", WHY | {"roles": ["sub_investigator"], "until": AT.format(6)}, key=ROOT)
    liar.speak()
    told, identities = judge(liar)
    assert (told, [one["roles"] for one in identities if "user" in one]) == ("", [["sub_investigator"]])
    liar.speak()
    assert "its key expired at" in judge(liar)[0]


@pytest.mark.parametrize("kind", ["changed", "suspended", "reinstated", "key_replaced"])
def test_nobody_but_root_and_administrators_changes_a_key(judge: Judge, liar: Persons, kind: str) -> None:
    data = WHY | {"roles": ["investigator"], "public_key": text_key(SECOND)}
    liar.seal(f"identity.{kind}", data, key=INVESTIGATOR)
    assert judge(liar)[0] == f"entry 4 is a trialtrail.identity.{kind}.v1, but investigator signed it"


def test_a_signature_shows_its_own_signer_and_binds_what_is_here(judge: Judge, liar: Persons) -> None:
    liar.speak(SITE)
    liar.sign()
    assert judge(liar)[0] == ""


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"name": "Somebody Else"},
            "shows the signature of Somebody Else (investigator.701), but its key is that of",
        ),
        ({"user": "other"}, "shows the signature of holder of site/701 (other), but its key is that of"),
        ({"role": "medical_monitor"}, "is signed as medical_monitor, which its key is not granted for"),
        ({"key": SITE}, "shows the signature of holder of site/701 (investigator.701), but its key is that of"),
        ({"records": [{"index": 1, "leaf": "0" * 64}]}, "signs entry 1, but not as it is here"),
        ({"records": [{"index": 5, "leaf": "0" * 64}]}, "signs entry 5, but not as it is here"),
        ({"records": [{"index": 9, "leaf": "0" * 64}]}, "signs entry 9, but not as it is here"),
        ({"records": None}, "makes no sense here"),
    ],
)
def test_a_signature_that_is_not_its_signers_own_is_no_signature(
    judge: Judge, liar: Persons, changes: dict[str, Any], sentence: str
) -> None:
    liar.speak(SITE)
    liar.sign(**changes)
    assert sentence in judge(liar)[0]


def test_a_system_does_not_sign_as_nobody(judge: Judge, liar: Persons) -> None:
    liar.speak(SITE)
    liar.sign(key=SITE, user=None)
    assert "but its key is that of" in judge(liar)[0]


def test_a_signature_of_before_there_were_persons_is_judged_by_what_it_says(judge: Judge) -> None:
    older = Old()
    older.speak(SITE)
    older.sign()
    assert judge(older)[0] == ""


class Old(Persons):
    """The same in entries of format 3, whose signatures have neither user id nor role."""

    def seal(self, kind: str, data: Any, **more: Any) -> Any:
        header = {"format": 3} | (more.pop("header", None) or {})
        said = {name: value for name, value in data.items() if name not in {"user", "role"}}
        return super().seal(kind, said, header=header, **more)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("identity.changed", {"roles": ["investigator"]}),
        ("identity.suspended", {"key": "f" * 32}),
        ("identity.reinstated", WHY),
        ("identity.key_replaced", WHY),
        ("identity.granted", grant(SECOND, "site/701", "investigator") | {"until": "tomorrow"}),
        ("identity.access_failed", {"key": "f" * 32, "locked": True}),
    ],
)
def test_statements_about_keys_that_make_no_sense_get_a_sentence(
    judge: Judge, liar: Persons, kind: str, data: dict[str, Any]
) -> None:
    liar.seal(kind, data, key=ROOT)
    assert "entry 4" in judge(liar)[0]


def test_both_verifiers_learn_the_same_of_every_key(liar: Persons) -> None:
    if NODE is None:
        pytest.skip("Node.js is not installed")
    liar.seal("identity.granted", grant(ADMINISTRATOR, "admin/office", "administrator"), key=ROOT)
    liar.seal("identity.changed", WHY | {"roles": ["investigator"], "until": AT.format(9)}, key=ROOT)
    liar.seal("identity.suspended", WHY, key=ROOT)
    liar.seal("identity.key_replaced", WHY | {"public_key": text_key(SECOND), "until": AT.format(8)}, key=ROOT)
    assert by_page(liar) == by_python(liar)
