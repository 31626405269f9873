"""`trail sign` at a real terminal, with a real stack: shown, signed with both components, sealed, told."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from services.cli.beginning import begin_log
from services.cli.persons import new_person_key
from services.cli.reading import reading
from services.cli.stack import Stack
from services.console.signatures import Book, Signature, signed
from shared.drafts import Draft
from shared.entry import Entry
from shared.envelope import read_envelope
from shared.key_files import LEAST
from shared.moments import stamp
from shared.person_keys import PersonKey
from tests.notary import text_key
from tests.scenario import Local, drafts_of, write_drafts
from tests.terminal import at_terminal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PHRASE = "harbour ladder quince tomorrow"
USER, NAME, PERSON = "a.ivanova", "Anna Ivanova", "701-001"
BOTH = [("User id:", USER), ("Passphrase:", PHRASE)]


class Scene(Local):
    """An installation, its log as it stands, and a person at a terminal."""

    def entries(self) -> list[Entry]:
        with reading(self.home) as source:
            return list(source.log.entries(0, source.log.size()))

    def book(self) -> Book:
        return signed(self.entries())

    def post(self, *drafts: Draft) -> list[dict[str, Any]]:
        file = write_drafts(self.home.directory.parent / "drafts.ndjson", drafts)
        code, posted = self.trail("submit", "--wait", file=file)
        assert code == 0, posted
        return posted  # type: ignore[no-any-return]

    def say(self, type_: str, data: dict[str, Any], source: str = "site/701") -> list[dict[str, Any]]:
        about = PERSON if source == "site/701" else None
        return self.post(Draft(source=source, type=type_, subject=about, time=stamp(datetime.now(UTC)), data=data))

    def sign(self, *arguments: str, answers: list[tuple[str, str]]) -> tuple[int, str]:
        where = ("--data", str(self.home.directory), "--broker", self.url)
        return at_terminal(["sign", "--user", USER, *where, *arguments], *answers)

    def decision(self, after: int = -1) -> int:
        """The newest decision on eligibility, behind an entry; waits for it."""
        return self.wait(
            lambda book: max(
                (one.index for one in book.waiting() if one.meaning == "eligibility" and one.index > after),
                default=None,
            )
        )

    def wait(self, found: Callable[[Book], Any]) -> Any:
        deadline = time.monotonic() + 120
        while (what := found(self.book())) is None:
            assert time.monotonic() < deadline
            time.sleep(0.3)
        return what


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """An investigator with a key file of her own, and an eligible participant at her site."""
    home = begin_log(tmp_path_factory.mktemp("signing") / "trial", practice=True)
    stack = Stack(home)
    stack.start()
    scene = Scene(home, stack.url)
    scene.post(*drafts_of(PERSON, datetime.now(UTC).date()))
    made = PersonKey(new_person_key(home, USER).path, cost=LEAST).create(USER, NAME, PHRASE, datetime.now(UTC))
    granted = {"holder": NAME, "source": "site/701", "roles": ["investigator"], "user": USER}
    scene.say("identity.granted", granted | {"public_key": text_key(made)}, "admin/root")  # type: ignore[arg-type]
    yield scene
    stack.stop()


def over(scene: Scene, index: int) -> list[Signature]:
    return scene.book().on(index)


@pytest.mark.part11("11.50(a)(1)", "11.50(a)(2)", "11.50(a)(3)", "11.200(a)(1)", "11.200(a)(1)(ii)")
def test_what_waits_is_shown_in_words_signed_with_both_components_and_signed_anew_when_it_changed(
    scene: Scene,
) -> None:
    index = scene.decision()
    code, screen = scene.sign(answers=[("Sign this?", "yes"), *BOTH])
    assert code == 0, screen
    assert f"Entry {index}, screening.decided" in screen
    assert "decided eligible" in screen
    assert "I5.1: met; creatinine 0.9 mg/dL" in screen
    assert f"By signing, I, {NAME}, investigator, state that the decision on eligibility is right." in screen
    assert PHRASE not in screen
    assert screen.index("leaf hash") < screen.index("By signing") < screen.index("User id:")
    assert f"signed by {NAME} ({USER}), investigator, meaning eligibility" in screen
    (one,) = over(scene, index)
    assert (one.name, one.user, one.role, one.status) == (NAME, USER, "investigator", "valid")
    assert f"signed at {one.signed_at}, sealed at {one.sealed_at} (entry {one.index})" in " ".join(screen.split())

    # The signature is what enrolment needs.
    scene.say("screening.enrolment_requested", {"dose_level": "DL1"})
    scene.wait(lambda _book: next((each for each in scene.entries() if b'"place":1' in each.body), None))

    # What was signed changes: visible at once, and signed again with one command.
    said = next(each for each in scene.entries() if b'"creatinine"' in each.body and each.header.intake)
    wrong = read_envelope(said.body)
    data = {**wrong.data, "value": 1.0, "corrects": wrong.id, "reason": "a slip of the pen"}
    scene.say("screening.observed", data)
    newer = scene.decision(after=index)
    (one,) = over(scene, index)
    assert (one.status, one.again) == ("superseded", (newer,))
    _, told = scene.trail("show", "participant", PERSON)
    assert [row["status"] for row in told["signatures"]] == ["superseded"]
    code, screen = scene.sign("--again", answers=BOTH)
    assert code == 0, screen
    assert f"Entry {newer}, screening.decided" in screen
    assert [each.status for each in over(scene, newer)] == ["valid"]
    assert "Nothing that you signed was superseded" in scene.sign("--again", answers=[])[1]


@pytest.mark.part11("11.300(d)")
def test_a_wrong_passphrase_is_an_alarm_and_sealed_by_the_sites_system(scene: Scene) -> None:
    said = {"ae": "1", "term": "Nausea", "onset": "2026-03-02", "grade": 1, "causality": "possible", "serious": []}
    index = str(scene.say("safety.event_reported", said)[0]["index"])
    answers = [("User id:", USER), ("Passphrase:", "certainly not the one"), *BOTH]
    code, screen = scene.sign(index, "--meaning", "causality", answers=answers)
    assert code == 0, screen
    assert f"ALARM: 1 failed attempts to open the key of {USER}" in screen
    failed = [each for each in scene.entries() if each.header.subject.endswith("identity.access_failed")]
    assert [(each.admitted, "site.701" in each.header.subject) for each in failed] == [(True, True)]
    assert not PersonKey(scene.home.directory / "keys" / f"{USER}.key").attempts().unreported
    assert [each.meaning for each in over(scene, int(index))] == ["causality"]


def test_a_script_gives_the_passphrase_in_a_file_and_without_one_is_told_what_to_do(scene: Scene) -> None:
    index = str(next(one.index for one in scene.book().waiting() if one.meaning == "grade"))
    asked = ("sign", "--user", USER, index, "--meaning")
    code, told = scene.trail(*asked, "grade")
    assert (code, "there is no terminal to ask for your passphrase" in told) == (2, True), told
    secret = scene.home.directory.parent / "secret"
    secret.write_text(PHRASE + "\n")
    code, told = scene.trail(*asked, "cohort", "--passphrase-file", str(secret))
    assert (code, "cohort is signed by cohort_committee" in told) == (2, True), told
    code, told = scene.trail(*asked, "grade", "--passphrase-file", str(secret))
    assert code == 0, told
    assert [(row["meaning"], row["records"], row["status"]) for row in told] == [("grade", [int(index)], "valid")]
    assert scene.trail("verify")[1]["good"]


@pytest.mark.part11("11.200(a)(1)(i)")
def test_in_one_session_the_first_signing_takes_both_components_and_each_later_one_the_passphrase(
    scene: Scene,
) -> None:
    said = {"ae": "7", "term": "Fatigue", "onset": "2026-03-02", "grade": 1, "causality": "possible", "serious": []}
    scene.say("safety.event_reported", said)
    before = set(scene.book().signatures)
    yes, again = ("Sign this?", "yes"), ("Passphrase:", PHRASE)
    code, screen = scene.sign(answers=[yes, *BOTH, yes, again, ("Sign this?", "quit")])
    assert code == 0, screen
    assert (screen.count("User id:"), screen.count("Passphrase:")) == (1, 2)
    made = [one for at, one in scene.book().signatures.items() if at not in before]
    assert [(one.user, one.status) for one in made] == [(USER, "valid")] * 2


def test_an_investigator_orders_an_erasure_with_the_key_that_a_passphrase_opens(scene: Scene) -> None:
    where = ("--data", str(scene.home.directory), "--broker", scene.url)
    asked = ["erase", PERSON, "--why", "asked for by the participant", "--by", USER, *where]
    code, screen = at_terminal(asked, *BOTH)
    (order,) = (one for one in scene.entries() if one.header.subject.endswith("privacy.erasure_ordered"))
    key = PersonKey(scene.home.directory / "keys" / f"{USER}.key").about()
    assert (order.admitted, order.header.key) == (True, key.id), screen
    assert (code, "2 more of 2 different persons must sign" in " ".join(screen.split())) == (1, True), screen
