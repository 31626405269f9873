"""Checkpoints are C2SP signed notes, exactly; the traps that other readers fell into stay shut."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.checkpoint import Checkpoint, open_checkpoint
from shared.note import NoteKey, open_note, sign_note
from shared.signing import SigningKey
from shared.words import EvidenceError

# The example of golang.org/x/mod/sumdb/note's documentation.
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNATURE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)

ORIGIN = "trialtrail.example/NCT06027853"
KEY = SigningKey.from_seed(b"k" * 32)
OTHER = SigningKey.from_seed(b"o" * 32)
LOG = NoteKey(ORIGIN, KEY.public)
ROOT = bytes(range(32))
CHECKPOINT = Checkpoint(ORIGIN, 4721, ROOT)


def line(name: str, raw: bytes) -> str:
    return f"— {name} {base64.b64encode(raw).decode()}\n"


def assert_refused(note: str, sentence: str, key: NoteKey = LOG) -> None:
    with pytest.raises(EvidenceError, match=sentence):
        open_note(note, key)


def test_the_go_projects_own_example_verifies_with_its_own_key() -> None:
    assert open_note(f"{TEXT}\n{SIGNATURE}", NoteKey.parse(NEUMANN)) == TEXT


def test_the_go_projects_key_reads_and_writes_to_the_byte() -> None:
    key = NoteKey.parse(NEUMANN)
    assert (key.name, key.id.hex(), key.vkey()) == ("PeterNeumann", "c74f20a3", NEUMANN)
    assert NoteKey.parse(LOG.vkey() + "\n") == LOG


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        NEUMANN.replace("c74f20a3", "c74f20a4"),
        NEUMANN.replace("c74f20a3", "C74F20A3"),
        NEUMANN.replace("PeterNeumann", "PeterNeumanN"),
        NEUMANN.replace("+ARpc", "+Alpc"),
        NEUMANN.replace("+ARpc", "+BBpc"),
        NEUMANN[:-4],
        NEUMANN[:-1] + "!",
        NEUMANN[12:],
    ],
)
def test_a_verifier_key_that_is_not_consistent_is_refused(vkey: str) -> None:
    with pytest.raises(EvidenceError, match="verifier key"):
        NoteKey.parse(vkey)


def test_a_note_is_its_text_an_empty_line_and_a_signature_line() -> None:
    note = sign_note("a\nb\n", "n", KEY)
    text, signature = note.split("\n\n")
    assert text == "a\nb"
    prefix, name, encoded = signature.removesuffix("\n").split(" ")
    assert (prefix, name) == ("—", "n")
    raw = base64.b64decode(encoded)
    assert raw[:4] == NoteKey("n", KEY.public).id
    Ed25519PublicKey.from_public_bytes(KEY.public).verify(raw[4:], b"a\nb\n")
    assert open_note(note, NoteKey("n", KEY.public)) == "a\nb\n"


@pytest.mark.parametrize("at", range(0, len(TEXT) - 1, 7))
def test_a_changed_text_is_refused(at: int) -> None:
    changed = TEXT[:at] + chr(ord(TEXT[at]) ^ 1) + TEXT[at + 1 :]
    assert_refused(
        f"{changed}\n{SIGNATURE}", "the signature of PeterNeumann|control character", NoteKey.parse(NEUMANN)
    )


def test_a_key_is_matched_by_its_id_as_well_as_its_name() -> None:
    forged = line(ORIGIN, NoteKey(ORIGIN, OTHER.public).id + OTHER.sign(b"x\n"))
    assert_refused("x\n\n" + forged, f"not signed by {ORIGIN}")


def test_a_key_is_matched_by_its_name_as_well_as_its_id() -> None:
    named = line("somebody.else", LOG.id + KEY.sign(b"x\n"))
    assert_refused("x\n\n" + named, f"not signed by {ORIGIN}")
    genuine = line(ORIGIN, LOG.id + KEY.sign(b"x\n"))
    garbage_under_our_id = line("somebody.else", LOG.id + bytes(64))
    assert open_note("x\n\n" + garbage_under_our_id + genuine, LOG) == "x\n"


def test_a_broken_signature_of_a_known_key_rejects_the_note_even_beside_a_good_one() -> None:
    good = line(ORIGIN, LOG.id + KEY.sign(b"x\n"))
    bad = line(ORIGIN, LOG.id + KEY.sign(b"y\n"))
    for signatures in (bad, good + bad, bad + good):
        assert_refused("x\n\n" + signatures, f"the signature of {ORIGIN} on the note is broken")
    assert_refused("x\n\n" + line(ORIGIN, LOG.id + b"x"), "is broken")


def test_signatures_of_keys_we_do_not_know_are_ignored() -> None:
    good = line(ORIGIN, LOG.id + KEY.sign(b"x\n"))
    unknown = line("witness.example", b"abcd" + bytes(72)) + line(ORIGIN, b"abcd" + bytes(64)) + line("w", b"abcdx")
    assert open_note("x\n\n" + unknown + good, LOG) == "x\n"
    assert open_note("x\n\n" + good + unknown, LOG) == "x\n"


def test_the_text_ends_at_the_last_empty_line() -> None:
    text = f"a\n\n{line(ORIGIN, LOG.id + KEY.sign(b'a'))}b\n"
    assert open_note(sign_note(text, ORIGIN, KEY), LOG) == text
    smuggled = sign_note("a\n", ORIGIN, KEY) + "\nb\n"
    assert_refused(smuggled, "malformed signature line|control character")
    assert_refused(sign_note("a\n", ORIGIN, KEY) + "\n" + line("w", bytes(68)), "not signed by")


@pytest.mark.parametrize(
    "malformed",
    [
        "- name AAAA\n",
        "— name\n",
        "— AAAA\n",
        "—  name AAAA\n",
        "— name  AAAA\n",
        "— name AAAA \n",
        "— na me AAAA\n",
        "— name A\n",
        "— name AA==AA\n",
        "— name AB==\n",
        "— name AA-_\n",
        "\r\n",
        "garbage\n",
    ],
)
def test_a_malformed_signature_line_rejects_the_note_even_beside_a_good_one(malformed: str) -> None:
    good = line(ORIGIN, LOG.id + KEY.sign(b"x\n"))
    assert_refused("x\n\n" + good + malformed, "malformed signature line|control character")
    assert_refused("x\n\n" + malformed + good, "malformed signature line|control character")


@pytest.mark.parametrize(
    "note", ["", "x\n", "x\n\n", "\n\n", "x\n" + SIGNATURE, sign_note("x\n", ORIGIN, KEY)[:-1]]
)
def test_a_note_without_a_signature_block_is_refused(note: str) -> None:
    assert_refused(note, "the note has no signature block")


def test_a_checkpoint_is_origin_size_and_root_a_line_each() -> None:
    note = CHECKPOINT.sign(KEY)
    assert note.startswith(f"{ORIGIN}\n4721\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n— {ORIGIN} ")
    assert open_checkpoint(note, LOG) == CHECKPOINT


def test_a_checkpoint_may_carry_lines_that_later_readers_know() -> None:
    note = sign_note(CHECKPOINT.text() + "extension\n", ORIGIN, KEY)
    assert open_checkpoint(note, LOG) == CHECKPOINT


@pytest.mark.parametrize("size", ["04721", "-1", "+1", "", "1e3", "4721 ", "٣", "9" * 19, "0x1"])
def test_a_checkpoints_size_is_one_plain_number(size: str) -> None:
    note = sign_note(CHECKPOINT.text().replace("4721", size), ORIGIN, KEY)
    with pytest.raises(EvidenceError, match="size or root cannot be read"):
        open_checkpoint(note, LOG)


@pytest.mark.parametrize("root", [ROOT[:31], ROOT + b"x", b""])
def test_a_checkpoints_root_is_32_bytes_long(root: bytes) -> None:
    with pytest.raises(EvidenceError, match="size or root cannot be read"):
        open_checkpoint(Checkpoint(ORIGIN, 4721, root).sign(KEY), LOG)


@pytest.mark.parametrize("root", ["!", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=", ROOT.hex()])
def test_a_checkpoints_root_is_canonical_base64(root: str) -> None:
    with pytest.raises(EvidenceError, match="size or root cannot be read"):
        open_checkpoint(sign_note(f"{ORIGIN}\n4721\n{root}\n", ORIGIN, KEY), LOG)


def test_two_checkpoints_of_one_root_but_different_sizes_are_different() -> None:
    assert open_checkpoint(Checkpoint(ORIGIN, 1, ROOT).sign(KEY), LOG) != open_checkpoint(
        Checkpoint(ORIGIN, 2, ROOT).sign(KEY), LOG
    )


@pytest.mark.parametrize(
    "text", ["x\n", f"{ORIGIN}\n1\n", f"{ORIGIN}/2\n4721\n{base64.b64encode(ROOT).decode()}\n"]
)
def test_a_note_of_the_log_that_is_no_checkpoint_of_its_origin_is_refused(text: str) -> None:
    with pytest.raises(EvidenceError, match=f"not one of {ORIGIN}|cannot be read"):
        open_checkpoint(sign_note(text, ORIGIN, KEY), LOG)


def test_another_logs_checkpoint_is_refused_though_the_same_key_signed_it() -> None:
    with pytest.raises(EvidenceError, match=f"not signed by {ORIGIN}"):
        open_checkpoint(Checkpoint("other.example/log", 4721, ROOT).sign(KEY), LOG)


def test_an_events_signature_is_no_checkpoints() -> None:
    raw = base64.b64decode(KEY.sign_event(CHECKPOINT.text().encode()))
    with pytest.raises(EvidenceError, match="is broken"):
        open_checkpoint(CHECKPOINT.text() + "\n" + line(ORIGIN, LOG.id + raw), LOG)


@pytest.mark.parametrize("character", ["\t", "\x00", "\r", "\x1f"])
def test_a_text_with_a_control_character_is_no_note(character: str) -> None:
    assert_refused(sign_note(f"a{character}b\n", ORIGIN, KEY), "control character")


def test_an_extension_line_of_a_checkpoint_is_carried_and_an_empty_one_refused() -> None:
    carried = sign_note(CHECKPOINT.text() + "more\n", ORIGIN, KEY)
    assert open_checkpoint(carried, LOG) == CHECKPOINT
    with pytest.raises(EvidenceError):
        open_checkpoint(sign_note(CHECKPOINT.text() + "\n", ORIGIN, KEY), LOG)
