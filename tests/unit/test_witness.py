"""A witness over real HTTP: whatever is sent gets the right status and a sentence, and nothing rolls back."""

import base64
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.witness.server import MOST_BYTES
from services.witness.store import MOST_KEPT, Store
from services.witness.witness import Witness
from shared.checkpoint import open_cosignature
from shared.database import sqlite
from shared.note import NoteKey
from shared.signing import SigningKey
from shared.words import TrailError
from tests.witness import LOG, LOG_KEY, ORIGIN, THIEF, Chain, leaves, served, witness_at, written

CHAIN = Chain(leaves(200))
FORK = CHAIN.forked(5)

# From the tests of another witness, FiloSottile/litetlog (internal/witness/witness_test.go): a Sigsum log's key
# and three of its checkpoints with their proofs, made and signed by software that was not written here.
SIGSUM = "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562"
SIGSUM_KEY = bytes.fromhex("ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f")
SIGSUM_1 = f"""\
old 0

{SIGSUM}
1
KgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=

— {SIGSUM} UgIom7fPZTqpxWWhyjWduBvTvGVqsokMbqTArsQilegKoFBJQjUFAmQ0+YeSPM3wfUQMFSzVnnNuWRTYrajXpNUbIQY=
"""
SIGSUM_3 = f"""\
old 1
KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
KgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=

{SIGSUM}
3
RcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=

— {SIGSUM} UgIom2VbtIcdFbwFAy1n7s6IkAxIY6J/GQOTuZF2ORV39d75cbAj2aQYwyJre36kezNobZs4SUUdrcawfAB8WVrx6go=
"""
SIGSUM_5 = f"""\
old 1
KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
+fUDV+k970B4I3uKrqJM4aP1lloPZP8mvr2Z4wRw2LI=
KgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=

{SIGSUM}
5
QrtXrQZCCvpIgsSmOsah7HdICzMLLyDfxToMql9WTjY=

— {SIGSUM} UgIomw/EOJmWi0i1FQsOj+etB7F8IccFam/jgd6wzRns4QPVmyEZtdvl1U2KEmLOZ/ASRcWJi0tW90dJWAShei7sDww=
"""


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[tuple[Witness, httpx.Client]]:
    with witness_at(tmp_path) as (one, url), httpx.Client(base_url=url, trust_env=False) as client:
        yield one, client


def post(client: httpx.Client, body: bytes) -> httpx.Response:
    return client.post("/add-checkpoint", content=body)


def grown(client: httpx.Client, *sizes: int) -> None:
    """Have the honest log cosigned at these sizes."""
    old = 0
    for size in sizes:
        assert post(client, CHAIN.body(old, size)).status_code == 200
        old = size


def test_another_witnesss_own_vectors_get_the_answers_they_get_there(tmp_path: Path) -> None:
    witness = Witness.at(tmp_path, "example.com", [NoteKey(SIGSUM, SIGSUM_KEY)])
    with served(witness) as url, httpx.Client(base_url=url, trust_env=False) as client:
        for body in (SIGSUM_1, SIGSUM_5):
            answer = post(client, body.encode())
            assert answer.status_code == 200
            assert open_cosignature(body.partition("\n\n")[2] + answer.text, witness.key) is not None
        for forged, status in (
            (SIGSUM_3, 409),
            (SIGSUM_3.replace("WVrx6go=", "WVrx7go="), 403),
            (SIGSUM_3.replace(SIGSUM, "sigsum.org/v1/tree/other"), 404),
            (SIGSUM_5.replace("old 1", "old 6"), 400),
            (SIGSUM_5.replace("old 1", "old 5"), 422),
        ):
            assert post(client, forged.encode()).status_code == status, forged
        assert post(client, SIGSUM_3.encode()).text == "5\n"
    witness.close()


def test_a_log_is_cosigned_as_it_grows(witness: tuple[Witness, httpx.Client]) -> None:
    one, client = witness
    before = int(time.time())
    for old, size in ((0, 1), (1, 8), (8, 100), (100, 100), (100, 200)):
        answer = post(client, CHAIN.body(old, size))
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
        cosignature = open_cosignature(CHAIN.note(size) + answer.text, one.key)
        assert cosignature is not None
        assert before <= cosignature.time <= int(time.time())


def test_a_conflict_is_answered_with_the_cosigned_size_alone(witness: tuple[Witness, httpx.Client]) -> None:
    _, client = witness
    answer = post(client, CHAIN.body(7, 20))
    assert (answer.status_code, answer.content) == (409, b"0\n")
    grown(client, 20)
    for body in (CHAIN.body(0, 30), CHAIN.body(10, 15), FORK.body(20, 20), FORK.body(0, 20)):
        answer = post(client, body)
        assert (answer.status_code, answer.content) == (409, b"20\n")
        assert answer.headers["Content-Type"] == "text/x.tlog.size"


STRANGER = Chain(leaves(200), THIEF)


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"", 400, "must read `old SIZE`"),
        (b"\x00" * 100, 400, "control character"),
        (CHAIN.body(20, 30)[:-1], 400, "no signature block"),
        (CHAIN.body(20, 30).replace(b"\n30\n", b"\n030\n"), 400, "cannot be read"),
        (written(31, [], CHAIN.note(30)), 400, "old 31 is more than the 30 entries"),
        (Chain(leaves(30), LOG, "other.example/log").body(20, 30), 404, "does not know the log"),
        (STRANGER.body(20, 30), 403, "not signed by"),
        (CHAIN.body(20, 30).replace(b"\n30\n", b"\n31\n"), 403, "is broken"),
        (CHAIN.body(20, 30, []), 422, "too short"),
        (CHAIN.body(20, 30, [bytes(32)] * 63), 422, "too long"),
        (FORK.body(20, 30), 422, "does not lead to the root of 20"),
        (CHAIN.body(20, 20, [bytes(32)]), 422, "should be empty"),
        (b"x" * (MOST_BYTES + 1), 413, "65536 bytes"),
        (b"x" * 10 * MOST_BYTES, 413, "65536 bytes"),
    ],
)
def test_what_cannot_be_cosigned_is_refused_with_its_status_and_a_sentence(
    witness: tuple[Witness, httpx.Client], body: bytes, status: int, sentence: str
) -> None:
    _, client = witness
    grown(client, 20)
    answer = post(client, body)
    assert (answer.status_code, sentence in answer.text) == (status, True), answer.text
    assert post(client, CHAIN.body(20, 20)).status_code == 200, "the refusal changed nothing"


def test_a_request_may_have_64_kib_whoever_has_signed_it_too(witness: tuple[Witness, httpx.Client]) -> None:
    _, client = witness
    body = CHAIN.body(0, 20)
    stranger = NoteKey("witness.example/other", THIEF.public).line(bytes(48)).encode()
    body += stranger * ((MOST_BYTES - len(body)) // len(stranger))
    assert post(client, body).status_code == 200


def test_other_methods_and_places_are_refused_too(witness: tuple[Witness, httpx.Client]) -> None:
    _, client = witness
    assert client.get("/add-checkpoint").status_code == 405
    assert client.post("/forks").status_code == 405
    assert client.get("/nothing").status_code == 404


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_bytes_break_a_witness(witness: tuple[Witness, httpx.Client], data: st.DataObject) -> None:
    _, client = witness
    good = data.draw(st.sampled_from([CHAIN.body(0, 20), FORK.body(0, 20), CHAIN.body(20, 30), FORK.body(20, 30)]))
    at = data.draw(st.integers(0, len(good)))
    until = data.draw(st.integers(at, len(good)))
    body = good[:at] + data.draw(st.binary(max_size=40)) + good[until:]
    assert post(client, body).status_code in {200, 400, 403, 404, 409, 422}


def test_what_a_fork_shows_is_kept_and_handed_to_anyone(witness: tuple[Witness, httpx.Client]) -> None:
    _, client = witness
    grown(client, 20)
    assert client.get("/forks").json() == {"full": [], "forks": []}
    refused = [FORK.body(20, 20), FORK.body(0, 20), FORK.body(20, 30), FORK.body(20, 31)]
    harmless = [CHAIN.body(0, 30), FORK.body(0, 15), FORK.body(0, 30), STRANGER.forked(5).body(20, 20), b"x"]
    for body in refused + harmless + refused:
        assert post(client, body).status_code in {400, 403, 409, 422}
    kept = client.get("/forks").json()["forks"]
    assert [(one["kind"], one["note"], one["old"]) for one in kept] == [
        ("fork", FORK.note(20), 20),
        ("unproven", FORK.note(30), 20),
        ("unproven", FORK.note(31), 20),
    ]
    assert {one["cosigned"] for one in kept} == {CHAIN.note(20)}
    assert {one["origin"] for one in kept} == {ORIGIN}
    assert [base64.b64decode(one) for one in kept[1]["proof"]] == FORK.tree(30).consistency(20)
    assert "3 refused checkpoints kept" in client.get("/").text


def test_a_checkpoint_whose_proof_was_wrong_once_is_cleared_by_the_right_one(
    witness: tuple[Witness, httpx.Client],
) -> None:
    _, client = witness
    grown(client, 20)
    post(client, CHAIN.body(20, 30, []))
    post(client, FORK.body(20, 30))
    assert [one["note"] for one in client.get("/forks").json()["forks"]] == [CHAIN.note(30), FORK.note(30)]
    assert post(client, CHAIN.body(20, 30)).status_code == 200
    assert [one["note"] for one in client.get("/forks").json()["forks"]] == [FORK.note(30)]


def test_a_flood_of_forks_fills_a_bounded_place_and_leaves_the_other_kind_room(tmp_path: Path) -> None:
    witness = Witness.at(tmp_path, None, [LOG_KEY])
    witness.add(CHAIN.body(0, 1))
    for at in range(MOST_KEPT + 5):
        root = leaves(1, f"flood {at}")
        assert witness.add(Chain([*root, *root]).body(1, 2, [])).status == 422
    assert len(witness.forks()["forks"]) == MOST_KEPT
    assert witness.forks()["full"] == [[ORIGIN, "unproven"]]
    assert witness.add(FORK.forked(0).body(1, 1)).status == 409
    assert [one["kind"] for one in witness.forks()["forks"]].count("fork") == 1
    witness.close()


def test_the_page_and_the_health_say_who_this_is_and_how_far_it_has_come(
    witness: tuple[Witness, httpx.Client],
) -> None:
    one, client = witness
    assert "never cosigned" in client.get("/").text
    grown(client, 20)
    page = client.get("/")
    assert page.headers["Content-Type"].startswith("text/plain")
    assert one.key.vkey() in page.text
    assert f"{ORIGIN}: 20 entries, last cosigned at 2" in page.text
    assert client.get("/health").json() == {"status": "well", "witness": one.key.vkey(), "logs": {ORIGIN: 20}}


def test_of_two_requests_that_race_one_is_judged_by_what_the_other_left(tmp_path: Path) -> None:
    """The race of c2sp.org/tlog-witness: both are past every other check and wait for the database."""
    Witness.at(tmp_path, None, [LOG_KEY]).close()
    let_in = threading.Semaphore(0)

    def clock() -> int:
        let_in.release()
        return 1000

    key, store = SigningKey.load(tmp_path / "key.pem"), Store(tmp_path / "witness.sqlite")
    with (
        served(Witness("witness.example/local", key, store, clock)) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        size = 0
        for _ in range(20):
            with sqlite(tmp_path / "witness.sqlite").begin():
                racing = {more: pool.submit(post, client, CHAIN.body(size, size + more)) for more in (1, 2)}
                assert all(let_in.acquire(timeout=60) for _ in racing)
            answers = {more: one.result() for more, one in racing.items()}
            (won,) = (more for more, one in answers.items() if one.status_code == 200)
            lost = answers[3 - won]
            size += won
            assert (lost.status_code, lost.text) == (409, f"{size}\n")
    assert store.head(ORIGIN).size == size
    store.close()


def test_whatever_races_the_steps_that_were_cosigned_are_one_path(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    with witness_at(tmp_path) as (_, url):

        def submit(step: int) -> None:
            with httpx.Client(base_url=url, trust_env=False) as client:
                old, size = 0, step
                while old < 100:
                    answer = post(client, CHAIN.body(old, size))
                    if answer.status_code == 200:
                        steps.append((old, size))
                        old = size
                    else:
                        assert answer.status_code == 409
                        old = int(answer.text)
                    size = min(old + step, 100)

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(submit, (1, 1, 2, 3))) == [None] * 4
    assert sorted(new for _, new in steps) == [*sorted(old for old, _ in steps)[1:], 100]


def test_time_never_goes_back_with_the_clock(tmp_path: Path) -> None:
    Witness.at(tmp_path, None, [LOG_KEY]).close()
    key, store, now = SigningKey.load(tmp_path / "key.pem"), Store(tmp_path / "witness.sqlite"), [1000]
    witness = Witness("witness.example/local", key, store, lambda: now[0])
    times = []
    for now[0], old, size in ((1000, 0, 1), (900, 1, 2), (900, 2, 2), (1001, 2, 3)):
        found = open_cosignature(CHAIN.note(size) + witness.add(CHAIN.body(old, size)).text, witness.key)
        assert found is not None
        times.append(found.time)
    assert times == [1000, 1000, 1000, 1001]
    witness.close()


def test_a_witness_goes_on_where_it_stopped_with_the_logs_it_was_given(tmp_path: Path) -> None:
    new_key = SigningKey.from_seed(b"n" * 32)
    with witness_at(tmp_path, "example.org/w1") as (witness, url):
        vkey = witness.key.vkey()
        assert httpx.post(f"{url}/add-checkpoint", content=CHAIN.body(0, 20), trust_env=False).status_code == 200
    again = Witness.at(tmp_path, None, [NoteKey(ORIGIN, new_key.public), NoteKey("other.example/log", LOG.public)])
    assert (again.key.vkey(), sorted(again.logs)) == (vkey, ["other.example/log", ORIGIN])
    assert again.add(FORK.body(20, 30)).status == 422
    assert again.add(CHAIN.body(20, 30)).status == 200
    assert again.add(Chain(leaves(40), new_key).body(30, 40)).status == 200, "the log has rotated its key"
    assert again.add(Chain(leaves(9), LOG, "other.example/log").body(0, 9)).status == 200, "each log has its head"
    again.close()


def test_a_key_that_was_stolen_is_trusted_no_longer_and_its_log_goes_on(tmp_path: Path) -> None:
    new_key = SigningKey.from_seed(b"n" * 32)
    witness = Witness.at(tmp_path, None, [LOG_KEY])
    assert witness.add(CHAIN.body(0, 20)).status == 200
    witness.close()
    for forget in ([LOG_KEY], []):
        again = Witness.at(tmp_path, None, [NoteKey(ORIGIN, new_key.public)], forget)
        assert again.add(CHAIN.body(20, 30)).status == 403
        assert again.add(Chain(FORK.leaves, new_key).body(20, 30)).status == 422
        again.close()


def test_a_key_that_is_added_while_a_witness_runs_is_trusted_at_once(tmp_path: Path) -> None:
    new_key = SigningKey.from_seed(b"n" * 32)
    running = Witness.at(tmp_path, None, [LOG_KEY])
    rotated = Chain(CHAIN.leaves, new_key).body(0, 20)
    assert running.add(rotated).status == 403
    Witness.at(tmp_path, None, [NoteKey(ORIGIN, new_key.public)]).close()
    assert running.add(rotated).status == 200
    running.close()


def test_a_witness_keeps_its_name(tmp_path: Path) -> None:
    Witness.at(tmp_path, "example.org/w1", [LOG_KEY]).close()
    Witness.at(tmp_path, "example.org/w1").close()
    with pytest.raises(TrailError, match=r"is example\.org/w1 and cannot become example\.org/w2"):
        Witness.at(tmp_path, "example.org/w2")


@pytest.mark.parametrize("name", ["two words", "a+b", "a\nb", " a"])
def test_a_name_that_no_note_could_carry_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TrailError, match="cannot be a witness's name"):
        Witness.at(tmp_path, name, [LOG_KEY])
    Witness.at(tmp_path, "a", [LOG_KEY]).close()


def test_a_witness_without_a_log_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(TrailError, match="give it a log's key with --log"):
        Witness.at(tmp_path)


def test_a_witness_that_lost_its_memory_does_not_go_on_with_its_key(tmp_path: Path) -> None:
    Witness.at(tmp_path, None, [LOG_KEY]).close()
    for gone in ("witness.sqlite", "witness.json"):
        (tmp_path / gone).unlink()
        with pytest.raises(TrailError, match="Never go on with this key"):
            Witness.at(tmp_path, None, [LOG_KEY])


@pytest.mark.parametrize("gone", ["witness.json", "key.pem"])
def test_a_witness_that_has_cosigned_and_lost_its_name_or_key_says_what_to_restore(
    tmp_path: Path, gone: str
) -> None:
    witness = Witness.at(tmp_path, None, [LOG_KEY])
    assert witness.add(CHAIN.body(0, 1)).status == 200
    witness.close()
    (tmp_path / gone).unlink()
    with pytest.raises(TrailError, match=f"{gone}.*restore"):
        Witness.at(tmp_path, None, [LOG_KEY])


def test_a_first_start_that_was_interrupted_is_finished_by_the_next(tmp_path: Path) -> None:
    Witness.at(tmp_path, None, [LOG_KEY]).close()
    public = SigningKey.load(tmp_path / "key.pem").public
    (tmp_path / "witness.json").unlink()
    witness = Witness.at(tmp_path, None, [LOG_KEY])
    assert witness.key.public == public
    witness.close()


def test_what_is_not_signed_by_the_log_waits_for_no_lock(tmp_path: Path) -> None:
    """Else strangers could keep the log's own checkpoints waiting, or be kept waiting by another process."""
    witness = Witness.at(tmp_path, None, [LOG_KEY])
    other = sqlite(tmp_path / "witness.sqlite")
    with other.begin():
        assert [witness.add(body).status for body in (b"", STRANGER.body(0, 20))] == [400, 403]
        assert witness.health()["logs"] == {ORIGIN: 0}
    other.dispose()
    witness.close()


def test_a_database_that_cannot_be_written_cosigns_nothing_and_says_so(
    witness: tuple[Witness, httpx.Client], tmp_path: Path
) -> None:
    _, client = witness
    grown(client, 20)
    other = sqlite(tmp_path / "witness.sqlite")
    with other.begin() as connection:
        connection.exec_driver_sql("DROP TABLE heads")
    other.dispose()
    answer = post(client, CHAIN.body(20, 30))
    assert (answer.status_code, "nothing was cosigned" in answer.text) == (503, True)
    assert client.get("/health").status_code == 503
