"""A tlog-policy is read exactly, and a checkpoint passes it only with its log's signature and its quorum."""

from contextlib import suppress
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.checkpoint import Checkpoint, cosign
from shared.note import COSIGNATURE, ED25519, NoteKey
from shared.policy import Policy
from shared.signing import SigningKey
from shared.words import EvidenceError, TrailError

ORIGIN = "trialtrail.example/NCT06027853"
LOG = SigningKey.from_seed(b"l" * 32)
KEYS = {name: SigningKey.from_seed(name.encode() * 16) for name in ("X1", "X2", "X3", "Y1", "Y2")}
VKEYS = {name: NoteKey(f"{name}.example", key.public, COSIGNATURE).vkey() for name, key in KEYS.items()}
LOG_LINE = f"log {NoteKey(ORIGIN, LOG.public).vkey()}\n"
WITNESSES = "".join(f"witness {name} {vkey}\n" for name, vkey in VKEYS.items())
TWO_LEVELS = (
    f"# Two organisations\n\n{LOG_LINE}{WITNESSES}group X 2 X1 X2 X3\n\tgroup  Y any Y1 Y2 \n"
    "group both all X Y\nquorum both\n"
)
CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(32))


def note(*witnesses: str, time: int = 1_700_000_000) -> str:
    lines = (cosign(CHECKPOINT.text(), f"{name}.example", KEYS[name], time) for name in witnesses)
    return CHECKPOINT.sign(LOG) + "".join(lines)


def test_a_quorum_of_groups_is_met_exactly_by_those_who_make_it() -> None:
    policy = Policy.parse(TWO_LEVELS)
    for count in range(6):
        for names in combinations(KEYS, count):
            enough = len(set(names) & {"X1", "X2", "X3"}) >= 2 and bool(set(names) & {"Y1", "Y2"})
            if enough:
                assert policy.open(note(*names)) == CHECKPOINT
            else:
                with pytest.raises(EvidenceError, match="the quorum is both"):
                    policy.open(note(*names))


def test_one_witness_counts_once_however_often_it_signs() -> None:
    policy = Policy.parse(f"{LOG_LINE}{WITNESSES}group X 2 X1 X2\nquorum X\n")
    twice = note("X1") + cosign(CHECKPOINT.text(), "X1.example", KEYS["X1"], 1_800_000_000)
    with pytest.raises(EvidenceError, match="cosigned by X1"):
        policy.open(twice)
    assert policy.cosigned(twice)["X1"].time == 1_800_000_000


def test_a_broken_cosignature_of_a_witness_rejects_the_checkpoint() -> None:
    policy = Policy.parse(f"{LOG_LINE}{WITNESSES}quorum none\n")
    foreign = cosign(CHECKPOINT.text().replace("7", "8"), "X1.example", KEYS["X1"], 1)
    with pytest.raises(EvidenceError, match=r"the cosignature of X1\.example on the checkpoint is broken"):
        policy.open(note() + foreign)


def test_a_plain_signature_by_a_witnesss_key_is_no_cosignature() -> None:
    policy = Policy.parse(f"{LOG_LINE}{WITNESSES}quorum X1\n")
    plain = NoteKey("X1.example", KEYS["X1"].public, ED25519).line(KEYS["X1"].sign(CHECKPOINT.text().encode()))
    with pytest.raises(EvidenceError, match="cosigned by nobody"):
        policy.open(note() + plain)


def test_a_checkpoint_of_another_log_is_not_valid_however_many_cosigned_it() -> None:
    policy = Policy.parse(TWO_LEVELS)
    unsigned = note(*KEYS).replace(CHECKPOINT.sign(LOG), CHECKPOINT.sign(SigningKey.from_seed(b"z" * 32)))
    with pytest.raises(EvidenceError, match=f"not signed by {ORIGIN}"):
        policy.open(unsigned)
    with pytest.raises(EvidenceError, match="names no log"):
        Policy.parse("quorum none\n").open(note())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no quorum line"),
        (LOG_LINE, "has no quorum line"),
        ("quorum X1\n", "line 1 of the policy: X1 is no witness"),
        ("quorum none\nquorum none\n", "line 2 of the policy: there is a quorum line"),
        ("quorum none none\n", "reads neither"),
        ("witness\n", "reads neither"),
        ("group X all\n", "reads neither"),
        ("QUORUM none\n", "reads neither"),
        (f"{LOG_LINE}{LOG_LINE}quorum none\n", "line 2 of the policy: this log's key"),
        (f"witness none {VKEYS['X1']}\nquorum none\n", "name none is taken"),
        (f"witness X1 {VKEYS['X1']}\nwitness X1 {VKEYS['X2']}\n", "name X1 is taken"),
        (f"witness X1 {VKEYS['X1']}\nwitness X2 {VKEYS['X1']}\n", "key is there already"),
        (f"log {VKEYS['X1']}\nquorum none\n", "is of type 04; a log's is 01"),
        (f"witness X1 {NoteKey(ORIGIN, LOG.public).vkey()}\n", "is of type 01; a witness's is 04"),
        (f"{WITNESSES}group X 3 X1 X2\n", "cannot need 3"),
        (f"{WITNESSES}group X 0 X1 X2\n", "neither all, any, nor a number"),
        (f"{WITNESSES}group X 1 X1 X1\n", "X1 is a member of a group already"),
        (f"{WITNESSES}group X any X1\ngroup Z any X1\n", "X1 is a member of a group already"),
        (f"{WITNESSES}group X any none\n", "none is no witness or group"),
        (f"{WITNESSES}group X any X\n", "X is no witness or group"),
        ("quorum none\r\n", "control character"),
        ("quorum\x0bnone\n", "control character"),
    ],
)
def test_what_is_no_policy_is_refused_by_its_line(text: str, sentence: str) -> None:
    with pytest.raises(TrailError, match=sentence):
        Policy.parse(text)


def test_a_policy_written_again_is_the_same_policy() -> None:
    policy = Policy.parse(TWO_LEVELS)
    assert Policy.parse(policy.text()) == policy


@given(st.text())
def test_any_text_is_a_policy_or_refused_in_a_sentence(text: str) -> None:
    with suppress(TrailError):
        Policy.parse(text)
