"""A person's key on disk: guesses are counted before they are answered, and lock the key (21 CFR 11.300)."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.app import app
from services.cli.beginning import begin_log
from services.cli.doctor import examine
from shared.attempts import MOST, AccessError, Attempts
from shared.events.identity import AccessFailed
from shared.key_files import Cost
from shared.person_keys import PersonKey
from shared.signing import Signer, verify_event
from shared.words import RefusedError, TrailError

CHEAP = Cost(n=2)
NOW = datetime(2026, 3, 4, 9, 0, tzinfo=UTC)
USER, HOLDER = "a.ivanova", "Anna Ivanova"
PHRASE, OTHER = "harbour ladder quince tomorrow", "velvet anchor thirteen spoons"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def key(tmp_path: Path) -> PersonKey:
    key = PersonKey(tmp_path / "keys" / "a.ivanova.key", cost=CHEAP, least=CHEAP)
    key.create(USER, HOLDER, PHRASE, NOW)
    return key


@pytest.fixture
def later() -> Iterator[datetime]:
    return (NOW + timedelta(seconds=second) for second in count(1))


def fail(key: PersonKey, times: int, later: Iterator[datetime]) -> None:
    for _ in range(times):
        with pytest.raises(AccessError, match="the passphrase is wrong"):
            key.open(USER, "not the passphrase", next(later))


@pytest.mark.part11("11.200(a)(1)")
def test_user_id_and_passphrase_together_open_the_key_that_was_made(tmp_path: Path) -> None:
    key = PersonKey(tmp_path / "new" / "a.key", cost=CHEAP, least=CHEAP)
    made = key.create(USER, HOLDER, PHRASE, NOW)
    signer: Signer = key.open(USER, PHRASE, NOW)
    assert signer.public == made.public
    assert signer.id == key.about().id
    assert verify_event(made.public, signer.sign(b"DSSEv1 28 application/cloudevents+json 1 x"), b"x")
    assert {stat.S_IMODE(path.stat().st_mode) for path in key.path.parent.iterdir()} == {0o600}


def test_a_key_is_never_made_over_another(key: PersonKey) -> None:
    before = key.path.read_bytes()
    with pytest.raises(TrailError, match="there is already a key at"):
        key.create(USER, HOLDER, OTHER, NOW)
    assert key.path.read_bytes() == before


def test_a_new_key_does_not_inherit_or_hide_what_was_tried_with_another(
    key: PersonKey, later: Iterator[datetime]
) -> None:
    fail(key, 2, later)
    key.path.unlink()
    with pytest.raises(
        TrailError, match=r"a\.ivanova\.key\.attempts tells of attempts at another key; move it away"
    ):
        key.create(USER, HOLDER, PHRASE, NOW)


def test_a_path_without_a_key_says_so_and_stays_empty(tmp_path: Path) -> None:
    with pytest.raises(TrailError, match=r"there is no key at .*; restore it from its back-up"):
        PersonKey(tmp_path / "lost.key").open(USER, PHRASE, NOW)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.part11("11.300(d)")
def test_five_wrong_passphrases_in_a_row_lock_the_key_even_for_the_right_one(
    key: PersonKey, later: Iterator[datetime]
) -> None:
    for left in (4, 3, 2, 1):
        with pytest.raises(AccessError, match=f"the passphrase is wrong.*; {left} more may fail"):
            key.open(USER, OTHER, next(later))
    with pytest.raises(AccessError, match="the key is locked now"):
        key.open(USER, OTHER, next(later))
    for passphrase in (PHRASE, OTHER):
        with pytest.raises(AccessError, match=r"the key of a\.ivanova is locked.*`trail key unlock"):
            key.open(USER, passphrase, next(later))
    with pytest.raises(AccessError, match="is locked"):
        key.change_passphrase(USER, PHRASE, OTHER, next(later))
    assert key.attempts().failures == MOST, "attempts at a locked key try nothing"


def test_the_right_passphrase_starts_the_row_again_and_forgets_no_failure(
    key: PersonKey, later: Iterator[datetime]
) -> None:
    fail(key, 4, later)
    key.open(USER, PHRASE, next(later))
    fail(key, 4, later)
    key.open(USER, PHRASE, next(later))
    known = key.attempts()
    assert (known.in_a_row, known.failures, known.locked) == (0, 8, False)


def test_an_administrator_unlocks_a_key_and_what_failed_stays_on_record(
    key: PersonKey, later: Iterator[datetime]
) -> None:
    fail(key, MOST, later)
    unlocked = key.unlock(next(later))
    assert (unlocked.failures, unlocked.locked, unlocked.unlocks) == (5, False, ("2026-03-04T09:00:06.000000Z",))
    assert key.open(USER, PHRASE, next(later)).id == key.about().id
    fail(key, MOST, later)
    assert (key.attempts().failures, key.attempts().locked) == (10, True)


def test_failures_are_told_once_and_those_during_the_telling_later(
    key: PersonKey, later: Iterator[datetime]
) -> None:
    name = key.about().id
    fail(key, 3, later)
    told = key.attempts()
    first, third = "2026-03-04T09:00:01.000000Z", "2026-03-04T09:00:03.000000Z"
    assert told.event_data(name) == {"key": name, "failures": 3, "first": first, "last": third, "locked": False}
    fail(key, 2, later)
    key.mark_reported(told)
    key.mark_reported(told)
    rest = key.attempts()
    fourth, fifth = "2026-03-04T09:00:04.000000Z", "2026-03-04T09:00:05.000000Z"
    assert rest.event_data(name) == {"key": name, "failures": 2, "first": fourth, "last": fifth, "locked": True}
    key.mark_reported(rest)
    assert (key.attempts().reported, key.attempts().unreported, key.attempts().locked) == (5, (), True)
    with pytest.raises(ValueError, match="every failed attempt is reported"):
        key.attempts().event_data(name)


def test_a_lock_is_told_of_though_it_was_unlocked_before_the_telling(
    key: PersonKey, later: Iterator[datetime]
) -> None:
    fail(key, MOST, later)
    key.unlock(next(later))
    fail(key, 1, later)
    told = AccessFailed.model_validate(key.attempts().event_data(key.about().id))
    assert (told.failures, told.locked) == (6, True)
    key.mark_reported(key.attempts())
    fail(key, 1, later)
    assert not AccessFailed.model_validate(key.attempts().event_data(key.about().id)).locked


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"in_a_row": -1, "unreported": [], "reported": 0, "locks": [], "unlocks": []}']
)
def test_a_missing_or_damaged_record_of_attempts_is_never_taken_for_none(key: PersonKey, text: str) -> None:
    record = key.path.with_name("a.ivanova.key.attempts")
    record.unlink()
    if text:
        record.write_text(text)
    with pytest.raises(AccessError, match="is missing or damaged, so the key beside it stays locked"):
        key.open(USER, PHRASE, NOW)
    key.unlock(NOW)
    assert key.open(USER, PHRASE, NOW)


def test_a_key_file_in_another_persons_place_is_refused_and_counts_as_no_guess(key: PersonKey) -> None:
    key.path.rename(key.path.with_name("b.petrov.key"))
    key.path.with_name("a.ivanova.key.attempts").rename(key.path.with_name("b.petrov.key.attempts"))
    moved = replace(key, path=key.path.with_name("b.petrov.key"))
    with pytest.raises(TrailError, match=r"this key file is not that of b\.petrov"):
        moved.open("b.petrov", PHRASE, NOW)
    assert moved.attempts() == Attempts()


@pytest.mark.part11("11.200(a)(3)")
def test_a_passphrase_is_changed_with_the_old_one_and_the_key_stays_the_same(key: PersonKey) -> None:
    before = key.about()
    changed = key.change_passphrase(USER, PHRASE, OTHER, NOW + timedelta(days=100))
    assert (changed.id, changed.expires) == (before.id, date(2027, 6, 12))
    assert key.about() == changed
    assert key.open(USER, OTHER, NOW).id == before.id
    with pytest.raises(AccessError):
        key.open(USER, PHRASE, NOW)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (OTHER, "thimble orchard copper 47 nights", "the passphrase is wrong"),
        (PHRASE, PHRASE, "the new passphrase is the old one"),
        (PHRASE, "harbour", "needs 12"),
        (PHRASE, "harbour ladder ivanova quince", "holds 'ivanova'|holds 'Ivanova'"),
    ],
)
def test_a_passphrase_that_is_not_changed_leaves_the_file_as_it_was(
    key: PersonKey, old: str, new: str, sentence: str
) -> None:
    before = key.path.read_bytes()
    with pytest.raises(TrailError, match=sentence) as refused:
        key.change_passphrase(USER, old, new, NOW)
    assert key.path.read_bytes() == before
    guessed = not isinstance(refused.value, RefusedError)
    assert key.attempts().failures == int(guessed), "the old passphrase is an attempt like any other"


@pytest.mark.part11("11.300(b)")
def test_an_expired_passphrase_signs_nothing_and_is_changed_by_whoever_knows_it(
    key: PersonKey, later: Iterator[datetime]
) -> None:
    expired = NOW + timedelta(days=366)
    for passphrase in (PHRASE, OTHER):
        with pytest.raises(
            TrailError, match=r"expired after 2027-03-04; change it with `trail key passphrase"
        ) as no:
            key.open(USER, passphrase, expired)
        assert not isinstance(no.value, AccessError), "nothing was tried, so nothing is counted"
    with pytest.raises(AccessError, match="the passphrase is wrong"):
        key.change_passphrase(USER, OTHER, "thimble orchard copper 47 nights", expired)
    key.change_passphrase(USER, PHRASE, OTHER, expired)
    assert key.open(USER, OTHER, expired).id == key.about().id


GUESSER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from shared.attempts import AccessError
from shared.events.identity import AccessFailed
from shared.key_files import Cost
from shared.person_keys import PersonKey
n, path, guesses = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
key = PersonKey(path, Cost(n=n), Cost(n=n))
print("ready", flush=True)
sys.stdin.readline()
for guess in guesses:
    try:
        key.open("a.ivanova", guess, datetime.now(UTC))
        print("open", flush=True)
    except AccessError as error:
        print("wrong" if "wrong" in str(error) else "locked", flush=True)
"""


def guesser(path: Path, cost: int, *guesses: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", GUESSER, str(cost), str(path), *guesses],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.part11("11.300(d)")
def test_a_guess_is_counted_though_its_process_is_killed_before_the_answer(tmp_path: Path) -> None:
    cost = 1 << 17  # slow enough to be killed in the middle
    key = PersonKey(tmp_path / "a.key", Cost(n=cost), Cost(n=cost))
    key.create(USER, HOLDER, PHRASE, NOW)
    for guess in range(1, MOST + 1):
        process = guesser(key.path, cost, OTHER)
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        while key.attempts().failures < guess:
            assert process.poll() is None, "it answered without counting"
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
        assert process.communicate()[0] == "", "it was killed before it could answer"
    with pytest.raises(AccessError, match="is locked"):
        key.open(USER, PHRASE, NOW)


def test_processes_that_guess_at_the_same_time_get_no_more_guesses_together(key: PersonKey) -> None:
    crowd = [guesser(key.path, CHEAP.n, *(f"guess {one} {many}" for many in range(4))) for one in range(4)]
    for process in crowd:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [word for process in crowd for word in process.communicate(timeout=60)[0].split()]
    assert sorted(said) == ["locked"] * (16 - MOST) + ["wrong"] * MOST
    assert key.attempts().failures == MOST


def test_the_command_changes_a_passphrase_and_unlocks_a_key(tmp_path: Path) -> None:
    key = PersonKey(tmp_path / "a.key")
    key.create(USER, HOLDER, PHRASE, datetime.now(UTC))
    typed = f"{USER}\n{PHRASE}\n{OTHER}\n{OTHER}\n"
    changed = CliRunner().invoke(app, ["key", "passphrase", str(key.path)], input=typed)
    assert changed.exit_code == 0, changed.output
    assert "The passphrase of a.ivanova is changed" in changed.stdout
    assert PHRASE not in changed.output + changed.stdout
    assert OTHER not in changed.output
    fail(key, 1, iter([datetime.now(UTC)]))
    assert key.open(USER, OTHER, datetime.now(UTC))
    unlocked = CliRunner().invoke(app, ["key", "unlock", str(key.path)])
    assert "On record: 1 failed attempts, unlocked 1 times." in unlocked.stdout


def test_the_doctor_tells_of_keys_that_others_read_that_are_locked_or_expire(
    tmp_path: Path, later: Iterator[datetime], capsys: pytest.CaptureFixture[str]
) -> None:
    home = begin_log(tmp_path / "trial")
    key = PersonKey(home.directory / "keys" / "a.ivanova.key", CHEAP, CHEAP)
    key.create(USER, HOLDER, PHRASE, NOW, expires=datetime.now(UTC).date() + timedelta(days=3))
    fail(key, MOST, later)
    (home.directory / "keys" / "service-safety.pem").chmod(0o644)
    assert examine(home.directory, json_=True) == 1
    told = capsys.readouterr().out
    assert "service-safety.pem can be read by others; run chmod 600 on it" in told
    assert "the key of a.ivanova is locked" in told
    assert "5 failed attempts at the key of a.ivanova are not sealed" in told
    assert "the passphrase of a.ivanova expires after" in told
