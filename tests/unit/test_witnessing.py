"""The notary collects cosignatures: witnesses that are away hold nothing up, and a fork stops everything."""

import base64
import itertools
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from sqlalchemy.exc import IntegrityError

from services.audit.checkpoints import Checkpoints
from services.audit.cosignatures import Cosignatures, witnessed
from services.audit.witnessing import Witnessing, pause
from services.witness.witness import Witness
from shared.checkpoint import cosign
from shared.merkle import Tree
from shared.note import COSIGNATURE, NoteKey
from shared.policy import Policy
from shared.signing import SigningKey
from shared.words import EvidenceError
from tests.witness import LOG, LOG_KEY, ORIGIN, Chain, leaves, served, witness_at

CHAIN = Chain(leaves(100))
FORK = CHAIN.forked(15)
W1 = SigningKey.from_seed(b"w" * 32)
W1_KEY = NoteKey("w1.example", W1.public, COSIGNATURE)


def policy_of(*witnesses: tuple[str, str, str], quorum: str = "all") -> Policy:
    """A policy by (name, vkey, url) of its witnesses."""
    lines = [f"log {LOG_KEY.vkey()}", *(f"witness {' '.join(one)}" for one in witnesses)]
    return Policy.parse(
        "\n".join([*lines, f"group all {quorum} {' '.join(one[0] for one in witnesses)}", "quorum all"])
    )


class Notary:
    """As much of a notary as witnesses see: a chain, and its signed checkpoints in a real file."""

    def __init__(self, directory: Path, chain: Chain = CHAIN) -> None:
        self.path = directory / "checkpoints.sqlite"
        self.chain = chain
        self.checkpoints = Checkpoints.at(self.path)
        self.cosignatures = Cosignatures(self.checkpoints.engine)
        self.client = httpx.Client(trust_env=False)
        self.now = 0.0

    def sign(self, *sizes: int) -> None:
        for size in sizes:
            newest = self.checkpoints.latest()
            self.checkpoints.add(newest[0] if newest else 0, size, self.chain.note(size))

    def witnessing(self, policy: Policy, tree_of: Callable[[int], Tree] | None = None) -> Witnessing:
        return Witnessing(
            policy,
            self.checkpoints,
            self.cosignatures,
            tree_of or self.chain.tree,
            self.client,
            monotonic=lambda: self.now,
        )

    def close(self) -> None:
        self.client.close()
        self.checkpoints.close()


@pytest.fixture
def notary(tmp_path: Path) -> Iterator[Notary]:
    one = Notary(tmp_path / "notary")
    yield one
    one.close()


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[tuple[Witness, str]]:
    with witness_at(tmp_path / "witness") as found:
        yield found


def entry(witness: Witness, url: str, name: str = "w") -> tuple[str, str, str]:
    return name, witness.key.vkey(), url


def test_every_witness_cosigns_every_checkpoint_it_is_asked_for(tmp_path: Path, notary: Notary) -> None:
    with ExitStack() as stack:
        names = ("a", "b", "c")
        found = [stack.enter_context(witness_at(tmp_path / name, f"{name}.example")) for name in names]
        policy = policy_of(*(entry(*one, name) for one, name in zip(found, names, strict=True)))
        witnessing = notary.witnessing(policy)
        witnessing.collect()
        for size in (1, 7, 64, 100):
            notary.sign(size)
            assert notary.cosignatures.latest(policy) < size
            witnessing.collect()
            assert policy.open(notary.cosignatures.note(size, CHAIN.note(size))).size == size
            assert notary.cosignatures.latest(policy) == size
            assert {one.health()["logs"][ORIGIN] for one, _ in found} == {size}
    assert witnessing.troubles == {}


def test_a_witness_that_knows_the_log_from_elsewhere_is_asked_again_from_there(
    witness: tuple[Witness, str], notary: Notary
) -> None:
    assert witness[0].add(CHAIN.body(0, 20)).status == 200
    notary.sign(20, 30)
    notary.witnessing(policy_of(entry(*witness))).collect()
    assert len(notary.cosignatures.of(30)) == 1


def test_a_cosignature_lost_on_its_way_is_asked_for_again(witness: tuple[Witness, str], notary: Notary) -> None:
    notary.sign(20)
    assert witness[0].add(CHAIN.body(0, 20)).status == 200
    notary.witnessing(policy_of(entry(*witness))).collect()
    assert len(notary.cosignatures.of(20)) == 1


def test_a_witness_without_a_url_is_not_asked(notary: Notary) -> None:
    notary.sign(20)
    witnessing = notary.witnessing(policy_of(("w", W1_KEY.vkey(), "")))
    witnessing.collect()
    assert (witnessing.troubles, notary.cosignatures.all()) == ({}, {})


@pytest.mark.parametrize(
    ("seen", "signed", "sentence"),
    [
        (CHAIN.body(0, 40), [20], "has cosigned 40 entries of this log, and this notary has signed 20"),
        (FORK.body(0, 20), [20], "has cosigned other 20 entries"),
        (FORK.body(0, 20), [30], "has cosigned 20 entries that are not the beginning"),
        (FORK.body(0, 16), [10, 30], "has cosigned 16 entries that are not the beginning"),
    ],
)
def test_a_witness_that_has_seen_another_log_stops_the_notary(
    witness: tuple[Witness, str], notary: Notary, seen: bytes, signed: list[int], sentence: str
) -> None:
    assert witness[0].add(seen).status == 200
    notary.sign(*signed)
    witnessing = notary.witnessing(policy_of(entry(*witness)))
    for _ in range(2):
        with pytest.raises(EvidenceError, match=f"{sentence}.*back-up was restored, or another notary") as raised:
            witnessing.collect()
        assert "Stop every notary of this log and put back the newest database" in str(raised.value)
    assert notary.cosignatures.all() == {}


def test_a_restored_back_up_is_noticed_before_it_signs_anything(
    witness: tuple[Witness, str], notary: Notary, tmp_path: Path
) -> None:
    """The back-up has its cosignatures too, so that by its own account there is nothing to ask for."""
    policy = policy_of(entry(*witness))
    notary.sign(20)
    notary.witnessing(policy).collect()
    (tmp_path / "restored").mkdir()
    with (
        sqlite3.connect(notary.path) as original,
        sqlite3.connect(tmp_path / "restored" / notary.path.name) as copy,
    ):
        original.backup(copy)
    restored = Notary(tmp_path / "restored")
    notary.sign(30)
    notary.witnessing(policy).collect()
    assert restored.cosignatures.latest(policy) == 20
    with pytest.raises(EvidenceError, match="has cosigned 30 entries of this log, and this notary has signed 20"):
        restored.witnessing(policy).collect()
    restored.close()


def test_a_kept_cosignature_on_more_than_was_signed_stops_the_notary(notary: Notary) -> None:
    notary.cosignatures.add(30, W1_KEY, 1, cosign(CHAIN.checkpoint(30).text(), "w1.example", W1, 1))
    notary.sign(20)
    with pytest.raises(EvidenceError, match="has cosigned 30 entries of this log, and this notary has signed 20"):
        notary.witnessing(policy_of(("w", W1_KEY.vkey(), "http://127.0.0.1:1"))).collect()


def test_a_witness_that_no_quorum_trusts_cannot_stop_the_notary_by_its_word(
    witness: tuple[Witness, str], notary: Notary
) -> None:
    """A size in an answer is signed by nobody."""
    notary.sign(20)
    assert witness[0].add(CHAIN.body(0, 30)).status == 200
    witnessing = notary.witnessing(replace(policy_of(entry(*witness)), quorum="none"))
    witnessing.collect()
    (trouble,) = witnessing.troubles.values()
    assert "has cosigned 30 entries of this log, and this notary has signed 20" in trouble.what


def test_somebody_else_may_submit_a_checkpoint_that_we_have_just_signed(
    witness: tuple[Witness, str], notary: Notary
) -> None:
    notary.sign(20)

    def sealing_on(size: int) -> Tree:
        if size == 20:
            notary.sign(30)
            assert witness[0].add(CHAIN.body(0, 30)).status == 200
        return CHAIN.tree(size)

    witnessing = notary.witnessing(policy_of(entry(*witness)), sealing_on)
    witnessing.collect()
    witnessing.collect()
    assert (list(notary.cosignatures.all()), witnessing.troubles) == ([30], {})


def test_a_database_that_is_not_what_was_signed_is_submitted_to_nobody(
    witness: tuple[Witness, str], notary: Notary
) -> None:
    notary.sign(20)
    with pytest.raises(EvidenceError, match="stored tree of 20 entries is not the one that was signed"):
        notary.witnessing(policy_of(entry(*witness)), FORK.tree).collect()
    assert witness[0].health()["logs"][ORIGIN] == 0


Script = Callable[[BaseHTTPRequestHandler], None]


def says(status: int, text: str) -> Script:
    def handle(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(text.encode())))
        request.end_headers()
        request.wfile.write(text.encode())

    return handle


def goes_on_for_ever(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    try:
        while True:
            request.wfile.write(b"x" * 10_000)
    except OSError:
        pass


def hangs_up(request: BaseHTTPRequestHandler) -> None:
    request.connection.shutdown(socket.SHUT_RDWR)


def cosigned(name: str, key: SigningKey, time_: int, size: int = 20) -> str:
    return cosign(CHAIN.checkpoint(size).text(), name, key, time_)


def now() -> int:
    return int(time.time())


@contextmanager
def scripted(*scripts: Script) -> Iterator[tuple[str, list[str]]]:
    """A server that does as told, request by request, the last script over and over; its URL, and what it got."""
    got: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            scripts[min(len(got), len(scripts)) - 1](self)

        def log_message(self, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}", got
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@pytest.mark.parametrize(
    ("scripts", "sentence"),
    [
        ([says(404, "?")], "does not know this log .* have its operator add the log's key"),
        ([says(403, "?")], "does not trust the key"),
        ([says(503, "?")], "answers with HTTP status 503"),
        ([says(422, "?")], "answers with HTTP status 422"),
        ([says(301, "?")], "answers with HTTP status 301"),
        ([says(409, "?")], "does not say what it has cosigned"),
        ([says(409, "0\n")] * 3, "again and again"),
        ([says(409, "7\n"), says(409, "8\n"), says(409, "7\n")], "again and again"),
        ([says(409, "7\n"), says(500, "")], "answers with HTTP status 500"),
        ([says(200, "")], "does not sign with the key"),
        ([says(200, "garbage\n")], "does not hold: the note has a malformed signature line"),
        ([says(200, cosigned("w1.example", LOG, now()))], "does not sign with the key"),
        ([says(200, cosigned("w2.example", W1, now()))], "does not sign with the key"),
        ([says(200, cosigned("w1.example", W1, now(), 30))], "does not hold: the cosignature of w1.example"),
        ([says(200, cosigned("w1.example", W1, now() + 3600))], r"tells a time that is \d+ s off"),
        ([says(200, cosigned("w1.example", W1, 1))], "set the clock that is wrong"),
        ([says(200, cosigned("w1.example", W1, (1 << 63) - 1))], "set the clock that is wrong"),
        ([goes_on_for_ever], "without end"),
        ([hangs_up], "cannot be asked"),
    ],
)
def test_what_a_witness_does_wrong_is_told_and_holds_up_nobody(
    witness: tuple[Witness, str], notary: Notary, scripts: list[Script], sentence: str
) -> None:
    notary.sign(20)
    with scripted(*scripts, says(200, cosigned("w1.example", W1, now()))) as (url, got):
        policy = policy_of(("bad", W1_KEY.vkey(), f"{url}/"), entry(*witness, "good"), quorum="any")
        witnessing = notary.witnessing(policy)
        witnessing.collect()
        assert list(witnessing.troubles) == ["bad"]
        told = witnessing.troubles["bad"]
        assert re.search(rf"the witness bad \({url}/\) .*{sentence}", told.what), told.what
        assert datetime.now(UTC) - told.since < timedelta(minutes=1)
        assert notary.cosignatures.latest(policy) == 20
        assert len(notary.cosignatures.of(20)) == 1
        asked = len(got)
        witnessing.collect()
        assert len(got) == asked, "it is left alone for a while"
        for _ in scripts:
            assert witnessing.troubles.get("bad", told).since == told.since
            notary.now += 60
            witnessing.collect()
        assert witnessing.troubles == {}
        assert len(notary.cosignatures.of(20)) == 2


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://[::1", "ftp://127.0.0.1/", "nothing", "http://ü..ü/"]
)
def test_a_witness_at_no_usable_url_is_told_and_holds_up_nobody(notary: Notary, url: str) -> None:
    notary.sign(20)
    witnessing = notary.witnessing(policy_of(("w", W1_KEY.vkey(), url)))
    witnessing.collect()
    assert "cannot be asked" in witnessing.troubles["w"].what


def test_a_slow_witness_holds_up_no_other(notary: Notary) -> None:
    notary.sign(20)
    other_was_asked = threading.Event()

    def slow(request: BaseHTTPRequestHandler) -> None:
        assert other_was_asked.wait(60)
        says(200, cosigned("w1.example", W1, now()))(request)

    def quick(request: BaseHTTPRequestHandler) -> None:
        other_was_asked.set()
        says(200, cosigned("w2.example", LOG, now()))(request)

    with scripted(slow) as (first, _), scripted(quick) as (second, _):
        other = NoteKey("w2.example", LOG.public, COSIGNATURE).vkey()
        witnessing = notary.witnessing(policy_of(("slow", W1_KEY.vkey(), first), ("quick", other, second)))
        witnessing.collect()
    assert (witnessing.troubles, len(notary.cosignatures.of(20))) == ({}, 2)


def test_an_answer_may_bring_more_than_was_asked_for(notary: Notary) -> None:
    """A witness with several keys, or one that is asked through another; only the policy's key counts."""
    notary.sign(20)
    old, new = now() - 10, now()
    lines = [cosigned("w2.example", LOG, new), *(cosigned("w1.example", W1, at) for at in (old, new))]
    with scripted(says(200, "".join(lines))) as (url, _):
        notary.witnessing(policy_of(("w", W1_KEY.vkey(), url))).collect()
    assert notary.cosignatures.of(20) == [lines[2]]


def test_a_witness_is_left_alone_longer_and_longer_up_to_a_minute(notary: Notary) -> None:
    assert [pause(failures) for failures in (1, 2, 3, 6, 7, 8, 10_000)] == [1, 2, 4, 32, 60, 60, 60]
    notary.sign(20)
    asked = []
    with scripted(says(500, "")) as (url, got):
        witnessing = notary.witnessing(policy_of(("w", W1_KEY.vkey(), url)))
        for second in range(200):
            notary.now = float(second)
            before = len(got)
            witnessing.collect()
            if len(got) > before:
                asked.append(second)
    assert asked == [0, 1, 3, 7, 15, 31, 63, 123, 183]


def test_a_witness_that_drips_its_answer_is_given_up(notary: Notary) -> None:
    notary.sign(20)

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        for _ in range(100):
            notary.now += 3
            request.wfile.write(b"x")

    with scripted(drip) as (url, _):
        witnessing = notary.witnessing(policy_of(("w", W1_KEY.vkey(), url)))
        witnessing.collect()
    assert "without end" in witnessing.troubles["w"].what


def test_a_new_log_key_is_asked_for_in_words(witness: tuple[Witness, str], notary: Notary, tmp_path: Path) -> None:
    """The log has rotated its key, and the witness's operator has not heard of it yet."""
    new_key = SigningKey.from_seed(b"n" * 32)
    rotated = Notary(tmp_path / "rotated", Chain(CHAIN.leaves, new_key))
    rotated.sign(20)
    witnessing = rotated.witnessing(policy_of(entry(*witness)))
    witnessing.collect()
    assert "does not trust the key that signs this log" in witnessing.troubles["w"].what
    with served(Witness.at(tmp_path / "witness", None, [NoteKey(ORIGIN, new_key.public)])) as url:
        witnessing = rotated.witnessing(policy_of((*entry(*witness)[:2], url)))
        witnessing.collect()
    assert witnessing.troubles == {}
    rotated.close()


def test_kept_cosignatures_can_be_read_where_none_were_ever_kept(notary: Notary) -> None:
    notary.sign(20)
    readable = Checkpoints.at(notary.path, read_only=True)
    cosignatures = Cosignatures(readable.engine)
    assert (cosignatures.all(), cosignatures.of(20), cosignatures.last(W1_KEY)) == ({}, [], 0)
    assert cosignatures.latest(policy_of(("w", W1_KEY.vkey(), ""))) == 0
    assert cosignatures.note(20, CHAIN.note(20)) == CHAIN.note(20)
    notary.cosignatures.add(20, W1_KEY, 1, "line\n")
    assert cosignatures.all() == {20: ["line\n"]}
    readable.close()


def test_cosignatures_are_only_ever_added(notary: Notary) -> None:
    notary.cosignatures.add(20, W1_KEY, 1, "line\n")
    notary.cosignatures.add(20, W1_KEY, 2, "other\n")
    assert notary.cosignatures.of(20) == ["line\n"]
    for statement in ("DELETE FROM cosignatures", "UPDATE cosignatures SET line = 'x'"):
        with (
            pytest.raises(IntegrityError, match="only ever added"),
            notary.checkpoints.engine.begin() as connection,
        ):
            connection.exec_driver_sql(statement)


def test_cosignatures_that_make_no_sense_are_told(notary: Notary) -> None:
    notary.cosignatures.add(20, W1_KEY, 1, "line\n")
    with sqlite3.connect(notary.path) as database:
        database.execute("INSERT INTO cosignatures VALUES (21, 'w', 1, x'ff')")
    with pytest.raises(EvidenceError, match="not stored as one"):
        notary.cosignatures.all()


KEYS = {name: SigningKey.from_seed(name.encode() * 16) for name in ("w1", "w2", "w3")}
TWO_OF_THREE = policy_of(
    *((name, NoteKey(f"{name}.example", key.public, COSIGNATURE).vkey(), "") for name, key in KEYS.items()),
    quorum="2",
)
SIGNED = [(follows, size, CHAIN.note(size)) for follows, size in itertools.pairwise((0, 10, 20, 30, 40))]


def line(name: str, size: int, time_: int = 1_700_000_000) -> str:
    return cosign(CHAIN.checkpoint(size).text(), f"{name}.example", KEYS[name], time_)


def lines(*names: Sequence[str]) -> dict[int, list[str]]:
    """Cosignature lines by these witnesses on the checkpoints over 10, 20 and so on entries."""
    return {size * 10: [line(name, size * 10) for name in by] for size, by in enumerate(names, 1)}


@pytest.mark.parametrize(
    ("cosignatures", "size"),
    [
        (lines(), 0),
        (lines(["w1"], ["w2"], ["w3"], ["w1"]), 0),
        (lines(["w1", "w2"], ["w2"], ["w3", "w1"], ["w1"]), 30),
        (lines([], [], [], ["w1", "w2", "w3"]), 40),
        (lines(["w1", "w3"]), 10),
    ],
)
def test_what_is_witnessed_ends_where_a_quorum_last_cosigned(cosignatures: dict[int, list[str]], size: int) -> None:
    found = witnessed(TWO_OF_THREE, SIGNED, cosignatures)
    assert (found.size, found.faults) == (size, [])
    assert [anchor.size for anchor in found.anchors] == [at for at, by in cosignatures.items() for _ in by]
    assert {anchor.time for anchor in found.anchors} <= {datetime.fromtimestamp(1_700_000_000, UTC)}


def test_an_anchor_names_its_witness_as_the_policy_does() -> None:
    (anchor,) = witnessed(TWO_OF_THREE, SIGNED, lines(["w2"])).anchors
    assert anchor.who == "the witness w2"


def test_without_a_quorum_everything_signed_counts() -> None:
    assert witnessed(Policy.parse("quorum none\n"), SIGNED, {}).size == 40


def test_cosignatures_that_do_not_hold_are_named_and_count_for_nothing() -> None:
    good = line("w1", 20)
    raw = bytearray(base64.b64decode(good.split()[2]))
    raw[40] ^= 1
    flipped = f"— w1.example {base64.b64encode(raw).decode()}\n"
    for bad, sentence in (
        (flipped, "over 20 entries: the cosignature of w1.example on the checkpoint is broken"),
        (line("w1", 30), "over 20 entries: the cosignature of w1.example on the checkpoint is broken"),
        ("garbage\n", "over 20 entries: the note has a malformed signature line"),
        (line("w1", 20, 1 << 62), "a time that no calendar has"),
    ):
        found = witnessed(TWO_OF_THREE, SIGNED, {20: [bad, line("w2", 20)]})
        assert found.size == 0
        assert [index for index, _ in found.faults] == [19]
        assert sentence in found.faults[0][1]


def test_a_cosigned_checkpoint_that_is_gone_is_missed() -> None:
    found = witnessed(TWO_OF_THREE, SIGNED[:3], lines([], [], ["w1"], ["w1", "w2"]))
    assert found.faults == [(39, "a checkpoint over 40 entries was cosigned, and it is missing")]
