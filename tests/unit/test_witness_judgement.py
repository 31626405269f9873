"""A witness cosigns one growing tree and no other, in whatever order honest and forked checkpoints come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.witness.state import (
    NOTHING_YET,
    Evidence,
    Head,
    Ruling,
    Submission,
    judge,
    read_submission,
    signed_note,
)
from shared.checkpoint import Checkpoint
from shared.merkle import EMPTY_ROOT, check_consistency
from shared.note import NoteKey
from shared.signing import SigningKey
from shared.words import EvidenceError, RefusedError
from tests.witness import LOG, LOG_KEY, ORIGIN, THIEF, Chain, leaves, written

HONEST = Chain(leaves(40))
CHAINS = [HONEST, *(HONEST.forked(at) for at in (0, 1, 7, 8, 17, 32)), HONEST.forked(17, "again")]
GARBAGE = [bytes([at]) * 32 for at in range(3)]


def submission(chain: Chain, old: int, size: int, proof: list[bytes]) -> Submission:
    return read_submission(written(old, proof, chain.note(size)))


def head_of(chain: Chain, size: int) -> Head:
    return Head(size, chain.tree(size).root(), chain.note(size), 0)


@st.composite
def steps(draw: st.DrawFn) -> tuple[Chain, int, int | None, Chain | None]:
    """(whose checkpoint, its size, the old size or None for the right one, whose proof or None for garbage)."""
    chain = draw(st.sampled_from(CHAINS))
    prover = draw(st.one_of(st.just(chain), st.sampled_from(CHAINS), st.none()))
    return chain, draw(st.integers(0, 40)), draw(st.none() | st.integers(0, 40)), prover


@given(st.lists(steps(), max_size=30))
def test_all_that_is_ever_cosigned_is_one_tree_that_grows(
    course: list[tuple[Chain, int, int | None, Chain]],
) -> None:
    head, cosigned = NOTHING_YET, list[bytes]()  # the leaves behind the head, which the witness does not know
    for chain, size, claimed, prover in course:
        old = head.size if claimed is None else claimed
        proof = GARBAGE if prover is None else prover.tree(size).consistency(old) if old <= size else []
        offered = chain.leaves[:size]
        ruling = judge(head, submission(chain, old, size, proof))
        continues = offered[: head.size] == cosigned
        if ruling.status == 200:
            assert continues
            head, cosigned = head_of(chain, size), offered
        elif prover is chain and old == head.size <= size:
            assert not continues, "an honest log that sends the right proof is never turned away"
        assert (ruling.evidence is Evidence.FORK) == (size == head.size and offered != cosigned)


def test_the_first_checkpoint_may_have_any_size() -> None:
    for size in (0, 1, 40):
        assert judge(NOTHING_YET, submission(HONEST, 0, size, [])) == Ruling(200)


def test_the_same_checkpoint_is_cosigned_again() -> None:
    assert judge(head_of(HONEST, 20), submission(HONEST, 20, 20, [])) == Ruling(200)


@pytest.mark.parametrize(
    ("chain", "old", "size", "proof", "status", "evidence"),
    [
        (HONEST, 21, 20, [], 400, None),
        (HONEST.forked(8), 21, 20, [], 400, Evidence.FORK),
        (HONEST, 0, 20, [], 409, None),
        (HONEST, 0, 30, [], 409, None),
        (HONEST, 10, 15, HONEST.tree(15).consistency(10), 409, None),
        (HONEST.forked(8), 10, 15, HONEST.forked(8).tree(15).consistency(10), 409, None),
        (HONEST.forked(8), 20, 20, [], 409, Evidence.FORK),
        (HONEST.forked(8), 20, 20, GARBAGE, 409, Evidence.FORK),
        (HONEST.forked(8), 0, 20, [], 409, Evidence.FORK),
        (HONEST, 20, 20, GARBAGE, 422, None),
        (HONEST, 20, 30, [], 422, Evidence.UNPROVEN),
        (HONEST, 20, 30, GARBAGE, 422, Evidence.UNPROVEN),
        (HONEST.forked(8), 20, 30, HONEST.forked(8).tree(30).consistency(20), 422, Evidence.UNPROVEN),
        (HONEST.forked(8), 20, 30, HONEST.tree(30).consistency(20), 422, Evidence.UNPROVEN),
    ],
)
def test_each_refusal_has_its_status_and_its_weight_as_evidence(
    chain: Chain, old: int, size: int, proof: list[bytes], status: int, evidence: Evidence | None
) -> None:
    ruling = judge(head_of(HONEST, 20), submission(chain, old, size, proof))
    assert (ruling.status, ruling.evidence) == (status, evidence)
    assert ruling.why


@pytest.mark.parametrize(
    ("size", "root", "proof", "status"),
    [
        (0, NOTHING_YET.root, [], 200),
        (0, bytes(32), [], 409),
        (0, NOTHING_YET.root, GARBAGE, 422),
        (1, bytes(32), [], 200),
        (1, bytes(32), GARBAGE, 422),
    ],
)
def test_a_log_begins_with_the_empty_tree_and_nothing_to_prove(
    size: int, root: bytes, proof: list[bytes], status: int
) -> None:
    text = written(0, proof, Checkpoint(ORIGIN, size, root).sign(LOG))
    assert judge(NOTHING_YET, read_submission(text)).status == status


def test_there_is_one_empty_tree() -> None:
    check_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    with pytest.raises(EvidenceError, match="two trees of 0 entries"):
        check_consistency(0, EMPTY_ROOT, 0, bytes(32), [])


GOOD = HONEST.body(8, 20)


def replaced(old: str, new: str) -> bytes:
    text = GOOD.decode()
    assert old in text
    return text.replace(old, new, 1).encode()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "must read `old SIZE`"),
        (b"\xff", "not UTF-8"),
        (replaced("old 8", "old 08"), "must read `old SIZE`"),
        (replaced("old 8", "old -1"), "must read `old SIZE`"),
        (replaced("old 8", "old  8"), "must read `old SIZE`"),
        (replaced("old 8", "old ٣"), "must read `old SIZE`"),
        (replaced("old 8", "old 9999999999999999999"), "must read `old SIZE`"),
        (replaced("old 8", "Old 8"), "must read `old SIZE`"),
        (replaced("old 8\n", "old 8\r\n"), "control character"),
        (replaced("\n\n", "\n"), "a line that is not base64"),
        (written(8, [bytes(32)] * 64, HONEST.note(20)), "64 lines; it may have 63"),
        (written(8, [bytes(31)], HONEST.note(20)), "not 32 bytes"),
        (replaced("=\n", "\n"), "not base64"),
        (replaced("=\n", "é\n"), "not base64"),
        (GOOD[:-1], "no signature block"),
        (GOOD + b"\n", "malformed signature line|signature block"),
        (replaced("\n20\n", "\n020\n"), "cannot be read"),
        (replaced(f"\n{ORIGIN}\n", "\n\n"), "cannot be read|signature block"),
    ],
)
def test_what_is_no_submission_is_refused_in_a_sentence(body: bytes, sentence: str) -> None:
    with pytest.raises(RefusedError, match=sentence):
        read_submission(body)


def test_a_proof_may_have_63_hashes() -> None:
    assert len(read_submission(written(8, [bytes(32)] * 63, HONEST.note(20))).proof) == 63


@given(st.binary() | st.binary().map(lambda cut: GOOD[: len(cut)] + cut))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        read = read_submission(body)
    except RefusedError:
        return
    assert written(read.old, read.proof, read.note) == body


def test_only_the_logs_own_signatures_are_kept_with_a_checkpoint() -> None:
    text = HONEST.checkpoint(20).text()
    new_key = SigningKey.from_seed(b"n" * 32)
    keys = [LOG_KEY, NoteKey(ORIGIN, new_key.public)]
    ours = [key.line(private.sign(text.encode())) for key, private in zip(keys, (LOG, new_key), strict=True)]
    theirs = NoteKey(ORIGIN, THIEF.public).line(THIEF.sign(text.encode()))
    note = f"{text}\n{theirs}{ours[0]}{ours[0]}{ours[1]}{theirs}"
    assert signed_note(read_submission(written(8, [], note)), keys) == f"{text}\n{ours[0]}{ours[1]}"
    with pytest.raises(EvidenceError, match="not signed by"):
        signed_note(read_submission(written(8, [], f"{text}\n{theirs}")), keys)
    broken = LOG_KEY.line(LOG.sign(b"other"))
    with pytest.raises(EvidenceError, match="is broken"):
        signed_note(read_submission(written(8, [], f"{text}\n{ours[1]}{broken}")), keys)
