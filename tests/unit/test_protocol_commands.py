"""``trail protocol`` and ``trail show assumptions``: versions, impact and assumptions, for people and programs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.cli import output
from services.cli.checking import show_one_participant
from services.cli.installation import Installation
from services.cli.protocol_acts import Amending
from services.cli.protocol_views import list_versions, show_assumptions, tell_impact
from services.console.protocols import Protocols, protocols
from shared.drafts import Draft
from shared.entry import Entry
from shared.moments import stamp
from shared.protocol.model import protocol_digest
from shared.words import SourceId, TrailError
from tests.amending import SIGNERS, STRICTER, activate, amend, put_in_force, sign, signed_by, with_people
from tests.inprocess import LOG_KEY, TRIAL
from tests.site import PERSON, Site
from tests.study import DOCUMENT

A3 = "actual body weight"
REWORDED = STRICTER.replace(f"value: {A3}", "value: ideal body weight")
AGAIN = STRICTER.replace('version: "1.1"', 'version: "1.2"')


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output.out, "_width", 400)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    with_people(site)
    Installation(tmp_path, TRIAL, LOG_KEY, "simulated").write()
    yield site
    site.notary.close()


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def first(site: Site) -> Entry:
    return next(entry for entry in site.log() if entry.header.subject.endswith(".protocol.adopted"))


def status(known: Protocols, document: str, name: str) -> tuple[str, int | None]:
    """An assumption's status in a version, and the entry that confirms it."""
    standing = known.assumptions(known.version(protocol_digest(document)))
    [one] = [one for one in standing if one.assumption.id == name]
    return one.status, None if one.by is None else one.by.entry


def test_every_assumption_is_open_until_somebody_signs_it(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    [signature] = signed_by(site, SIGNERS[0], first(site), "assumption", assumptions=["A3", "A99"])
    show_assumptions(site.directory, None, json_=True)
    shown = said(capsys)
    assert shown["version"] == "1.0"
    confirmed = [one for one in shown["assumptions"] if one["status"] == "confirmed"]
    assert [(one["id"], one["value"], one["by"]["entry"]) for one in confirmed] == [("A3", A3, signature.index)]
    assert len(shown["assumptions"]) > 20
    show_assumptions(site.directory, None, json_=False)
    by = f"medical_monitor of sponsor/first, medical monitor, {stamp(site.now)} (entry {signature.index})"
    assert f"confirmed by {by}" in told(capsys)
    show_assumptions(site.directory, str(signature.index - 1), json_=True)
    assert not [one for one in said(capsys)["assumptions"] if one["status"] == "confirmed"]


@pytest.mark.part11("11.50(b)")
def test_an_assumption_that_a_version_changes_is_open_again_and_an_unchanged_one_stays_confirmed(
    site: Site,
) -> None:
    [signature] = signed_by(site, SIGNERS[0], first(site), "assumption", assumptions=["A3", "A4"])
    amend(site, REWORDED)
    known = protocols(site.log())
    assert status(known, REWORDED, "A3") == ("open", None)
    assert status(known, REWORDED, "A4") == ("confirmed", signature.index)
    amend(site, AGAIN, replaces=REWORDED)  # back to the first wording, which was not confirmed beside the second
    assert status(protocols(site.log()), AGAIN, "A3") == ("open", None)
    assert status(protocols(site.log()), DOCUMENT, "A3") == ("confirmed", signature.index)


def test_a_document_that_calls_an_assumption_confirmed_confirms_nothing(site: Site) -> None:
    claimed = STRICTER.replace(f"value: {A3}, status: open", f"value: {A3}, status: confirmed")
    amend(site, claimed)
    known = protocols(site.log())
    assert status(known, claimed, "A3") == ("open", None)
    standing = known.assumptions(known.version(protocol_digest(claimed)))
    [words] = [one.told() for one in standing if one.assumption.id == "A3"]
    assert words == "open: its document says confirmed, nobody has signed"


def test_a_decision_is_shown_with_what_it_assumes_open_or_confirmed(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.screen()
    signed_by(site, SIGNERS[0], first(site), "assumption", assumptions=["A3"])
    show_one_participant(site.directory, PERSON)
    assert "assumes A3 (confirmed), A4 (open), A14 (open)" in told(capsys)
    show_one_participant(site.directory, PERSON, json_=True)
    assert said(capsys)["assumptions"]["A3"] == "confirmed"


@pytest.mark.part11("11.10(k)(2)")
def test_the_list_says_who_signed_each_version_and_where_it_is_in_force(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    amended = amend(site, STRICTER, reconsent=True)[0]
    sign(site, amended)
    replaced, again = activate(site, STRICTER, "2026-03-20")[0], activate(site, STRICTER, "2026-03-03")[0]
    list_versions(site.directory, None, json_=True)
    old, new = said(capsys)
    assert (old["version"], old["began_with"], old["sites"]) == ("1.0", True, [])
    assert [one["user"] for one in new["signed"]] == ["medical_monitor.first", "medical_monitor.second"]
    [there] = new["sites"]
    assert (there["state"], there["effective"], there["entry"]) == ("from", "2026-03-03", again.index)
    assert replaced.index != again.index
    site.pass_time(2)
    list_versions(site.directory, None, json_=False)
    assert "701: since 2026-03-03" in told(capsys)


def test_the_impact_before_activation_names_who_is_concerned_and_how(
    site: Site, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    site.screen()
    infused = {"at": "2026-03-02T08:00:00+08:00", "dose_level": "DL1", "number": 1}
    consented = {"form_version": "1.0", "signed": "2026-03-01"}
    closed = {"on": "2026-03-02"}
    for code, type_, data in (
        ("701-002", "screening.consented", consented),
        ("701-002", "treatment.infused", infused),
        ("701-003", "screening.consented", consented),
        ("701-003", "screening.screen_failed", closed),
    ):
        if type_ == "screening.consented":
            site.post([_draft(site, code, "screening.registered", {"sex": "male", "birth_date": "1970"})])
        site.post([_draft(site, code, type_, data)])
    amend(site, STRICTER, reconsent=True)
    tell_impact(site.directory, protocol_digest(STRICTER)[:8], None, json_=True)
    shown = said(capsys)
    [here] = shown["sites"]
    assert (shown["reconsent"], here["site"], here["activation"]) == (True, "701", None)
    assert here["consent_again"] == ["701-001", "701-002"]
    assert [(one["subject"], one["what"]) for one in here["rescreen"]] == [
        ("701-001", "standing: eligible -> ineligible; I4: met -> not_met")
    ]
    assert here["kept"] == ["701-002", "701-003"]
    draft = tmp_path / "draft.yaml"
    draft.write_text(AGAIN, "utf-8")
    tell_impact(site.directory, None, draft, json_=False)
    words = told(capsys)
    assert "It is a draft: whether anybody has to consent again is for its amendment to say." in words
    assert "2 would have to consent again, if it asks for it: 701-001, 701-002" in words
    assert "1 would be judged otherwise and have to be screened again" in words


def _draft(site: Site, code: str, type_: str, data: dict[str, Any]) -> Draft:
    return Draft(source=SourceId("site/701"), type=type_, subject=code, time=stamp(site.now), data=data)


def test_after_activation_it_is_told_who_has_not_consented_again(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.screen()
    made = put_in_force_again(site)
    tell_impact(site.directory, protocol_digest(STRICTER), None, json_=True)
    assert said(capsys)["sites"][0]["consent_again"] == [PERSON]
    show_one_participant(site.directory, PERSON)
    assert f"has to consent again: protocol 1.1 is in force at site/701 since 2026-03-02 (entry {made})" in told(
        capsys
    )
    site.say("screening.consented", {"form_version": "3.0", "signed": "2026-03-02"})
    show_one_participant(site.directory, PERSON, json_=True)
    assert said(capsys)["consent_again"] is None
    tell_impact(site.directory, protocol_digest(STRICTER), None, json_=True)
    assert said(capsys)["sites"][0]["consent_again"] == []


def put_in_force_again(site: Site) -> int:
    [amended] = amend(site, STRICTER, reconsent=True)
    sign(site, amended)
    return activate(site, STRICTER, "2026-03-02")[0].index


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rules: [", "cannot be read"),
        (STRICTER.replace("trial: NCT06027853", "trial: NCT00000000"), "is of trial NCT00000000"),
        (DOCUMENT + "# other words\n", "there is a version 1.0 already, of entry"),
    ],
)
def test_a_document_that_no_service_could_use_is_not_sent(site: Site, tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "amended.yaml"
    file.write_text(text, "utf-8")
    before = len(site.log())
    with pytest.raises(TrailError, match=why):
        Amending(site.directory, "sponsor/office").amend(file, "a change", None, reconsent=False)
    assert len(site.log()) == before
    assert not (site.directory / "outbox").exists()


def test_an_unusable_version_is_listed_with_its_problem_and_not_activated(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    put_in_force(site, "rules: [", "2026-03-02")
    list_versions(site.directory, None, json_=True)
    assert "cannot be read" in said(capsys)[-1]["problem"]
    with pytest.raises(TrailError, match="cannot be used"):
        Amending(site.directory, "sponsor/office").activate(protocol_digest("rules: ["), {"site": "701"})
    with pytest.raises(TrailError, match="no version of the protocol begins with ffff"):
        tell_impact(site.directory, "ffff", None, json_=True)
