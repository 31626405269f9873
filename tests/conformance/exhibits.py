"""What strangers are shown: a real published log, its receipts, claims about its tree, and all of it broken."""

import base64
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from services.audit.publishing import Publisher
from services.audit.tile_store import store_at
from shared.checkpoint import Checkpoint, cosign, open_checkpoint, read_checkpoint
from shared.entry import Entry, leaf_hash
from shared.merkle import check_consistency, root_from_inclusion
from shared.note import COSIGNATURE, NoteKey, split_note
from shared.words import EvidenceError
from tests.notary import LOG_KEY, OBSERVED, PERSON, START, Office, seeded_key

ENTRIES = 1_100
WITNESSES = ("witness.example/one", "witness.example/two")
WITNESSED_AT = 1_772_614_800


def flipped(data: bytes, chance: random.Random) -> bytes:
    """The same bytes but for one bit."""
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


class Inclusion(NamedTuple):
    """A claim that an entry stands at an index of a tree."""

    entry: bytes
    index: int
    size: int
    root: bytes
    path: tuple[bytes, ...]

    def holds(self) -> bool:
        """What we say to it."""
        try:
            return root_from_inclusion(leaf_hash(self.entry), self.index, self.size, self.path) == self.root
        except EvidenceError:
            return False

    def broken(self, chance: random.Random) -> Iterator[tuple[str, "Inclusion"]]:
        """The claim with one thing in it changed.

        Never the size: no inclusion proof binds it, as all trees of 5 to 8 leaves prove leaf 0 alike. The
        signature over the checkpoint does.
        """
        yield "entry", self._replace(entry=flipped(self.entry, chance))
        yield "root", self._replace(root=flipped(self.root, chance))
        yield "index", self._replace(index=chance.choice([i for i in range(self.size + 1) if i != self.index]))
        for what, path in broken_path(self.path, chance):
            yield what, self._replace(path=path)


class Consistency(NamedTuple):
    """A claim that a tree begins with a smaller one."""

    old: int
    old_root: bytes
    new: int
    new_root: bytes
    path: tuple[bytes, ...]

    def holds(self) -> bool:
        """What we say to it."""
        try:
            check_consistency(*self)
        except EvidenceError:
            return False
        return True

    def broken(self, chance: random.Random) -> Iterator[tuple[str, "Consistency"]]:
        """The claim with one thing in it changed; not the sizes, see :meth:`Inclusion.broken`."""
        yield "old root", self._replace(old_root=flipped(self.old_root, chance))
        yield "new root", self._replace(new_root=flipped(self.new_root, chance))
        for what, path in broken_path(self.path, chance):
            yield what, self._replace(path=path)


def broken_path(path: Sequence[bytes], chance: random.Random) -> Iterator[tuple[str, tuple[bytes, ...]]]:
    """A proof's hashes with one of them changed, left out or too many."""
    more = chance.randrange(len(path) + 1)
    yield "a hash too many", (*path[:more], chance.randbytes(32), *path[more:])
    if path:
        at = chance.randrange(len(path))
        yield "a flipped hash", (*path[:at], flipped(path[at], chance), *path[at + 1 :])
        yield "a hash left out", (*path[:at], *path[at + 1 :])
    if len(path) > 1:
        yield "hashes in another order", (*path[1:], path[0])


@dataclass(frozen=True)
class Receipt:
    """A tlog-proof in its parts, so that each can be broken by itself."""

    header: bytes
    index: int
    path: tuple[bytes, ...]
    note: str
    payload: bytes

    @classmethod
    def read(cls, text: str, payload: bytes) -> "Receipt":
        """Take a receipt apart."""
        head, _, note = text.partition("\n\n")
        _, extra, index, *path = head.split("\n")
        hashes = tuple(base64.b64decode(one) for one in path)
        return cls(base64.b64decode(extra[len("extra ") :]), int(index[len("index ") :]), hashes, note, payload)

    def text(self) -> str:
        """The receipt put together again."""
        lines = [
            "c2sp.org/tlog-proof@v1",
            f"extra {base64.b64encode(self.header).decode()}",
            f"index {self.index}",
            *(base64.b64encode(one).decode() for one in self.path),
        ]
        return "\n".join(lines) + "\n\n" + self.note

    def inclusion(self) -> Inclusion:
        """What the receipt claims."""
        checkpoint = read_checkpoint(split_note(self.note)[0])
        return Inclusion(
            self.header + b"\n" + self.payload, self.index, checkpoint.size, checkpoint.root, self.path
        )

    def broken(self, chance: random.Random) -> Iterator[tuple[str, "Receipt"]]:
        """The receipt with one thing in it changed."""
        yield "header", Receipt(flipped(self.header, chance), self.index, self.path, self.note, self.payload)
        yield "payload", Receipt(self.header, self.index, self.path, self.note, flipped(self.payload, chance))
        other = chance.choice([i for i in range(self.inclusion().size + 1) if i != self.index])
        yield "index", Receipt(self.header, other, self.path, self.note, self.payload)
        for what, path in broken_path(self.path, chance):
            yield what, Receipt(self.header, self.index, path, self.note, self.payload)
        for what, note in broken_notes(self.note, chance):
            yield what, Receipt(self.header, self.index, self.path, note, self.payload)


def broken_notes(note: str, chance: random.Random) -> Iterator[tuple[str, str]]:
    """A checkpoint with one thing changed in what its log has signed, or in that signature."""
    text, lines = split_note(note)
    rest = "".join(line for _, line in lines)
    checkpoint = read_checkpoint(text)

    def with_text(**changes: object) -> str:
        fields = {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root} | changes
        return Checkpoint(**fields).text() + "\n" + rest  # type: ignore[arg-type]

    yield "a larger size", with_text(size=checkpoint.size + chance.randrange(1, 300))
    yield "a smaller size", with_text(size=chance.randrange(checkpoint.size))
    yield "the signed root", with_text(root=flipped(checkpoint.root, chance))
    yield "the origin", with_text(origin=checkpoint.origin + "x")
    yield "a line more", text + "more\n\n" + rest
    name, line = lines[0]
    signature = base64.b64decode(line.rstrip("\n").rpartition(" ")[2])
    behind = rest[len(line) :]
    for what, broken in (
        ("the signature", signature[:4] + flipped(signature[4:], chance)),
        ("the key's id", flipped(signature[:4], chance) + signature[4:]),
    ):
        yield what, f"{text}\n— {name} {base64.b64encode(broken).decode()}\n{behind}"
    yield "the key's name", f"{text}\n— {name}x {base64.b64encode(signature).decode()}\n{behind}"
    if behind:
        yield "the log's line left out", f"{text}\n{behind}"


class Published:
    """A notary's log of over a thousand entries of every sort, published as tiles, its checkpoint witnessed."""

    def __init__(self, directory: Path) -> None:
        self.office = Office.founded(directory / "office", clock="simulated", tick_seconds=60)
        self.tiles = directory / "tiles"
        self._fill()
        self.notes = {size: note for _, size, note in self.office.notary.checkpoints.all()}
        self.size = max(self.notes)
        notary = self.office.notary
        self._publisher = Publisher(
            store_at(str(self.tiles)), notary.log, notary.checkpoints, lambda: LOG_KEY, self.witnessed
        )
        self._publisher.publish()

    def _fill(self) -> None:
        """Admitted events, refused ones, garbage, repeats, a payload too large to keep, ticks in batches."""
        office, chance, now = self.office, random.Random(17), START
        office.register()
        while office.notary.size < ENTRIES:
            event = office.arrival(office.event("screening.observed", OBSERVED, subject=PERSON))
            garbage = office.arrival(b"\xff\x00 not JSON \n\n" + chance.randbytes(20))
            office.seal([event, garbage, event] if chance.random() < 0.5 else [garbage])
            now += timedelta(minutes=chance.choice([1, 2, 3, 40, 120]))
            office.move_clock(now)
        office.seal([office.arrival(b"too large" * 10_000)])

    @cached_property
    def entries(self) -> list[Entry]:
        """All entries."""
        return self.office.entries()

    def witnessed(self, _size: int, note: str) -> str:
        """A checkpoint with the lines of two witnesses."""
        text, _ = split_note(note)
        return note + "".join(cosign(text, name, seeded_key(name), WITNESSED_AT) for name in WITNESSES)

    def roots(self) -> dict[int, bytes]:
        """The signed root by tree size."""
        return {size: open_checkpoint(note, LOG_KEY).root for size, note in self.notes.items()}

    def receipts(self, chance: random.Random, count: int) -> list[Receipt]:
        """Receipts of chosen entries, the first and the last among them."""
        chosen = {0, self.size - 1, *chance.sample(range(self.size), count)}
        texts = self.office.notary.receipts_of(chosen)
        return [Receipt.read(texts[index], self.entries[index].body) for index in sorted(texts)]

    def inclusions(self, chance: random.Random, count: int) -> list[Inclusion]:
        """Proofs of chosen entries in signed trees."""
        roots, log = self.roots(), self.office.notary.log
        claims = []
        for size in chance.choices(sorted(roots), k=count):
            index = chance.randrange(size)
            path = tuple(log.tree(size).inclusion(index))
            claims.append(Inclusion(self.entries[index].raw, index, size, roots[size], path))
        return claims

    def consistencies(self, chance: random.Random, count: int) -> list[Consistency]:
        """Proofs between signed checkpoints, some of them the same one twice."""
        roots, log = self.roots(), self.office.notary.log
        pairs = [sorted(chance.choices(sorted(roots), k=2)) for _ in range(count)]
        return [
            Consistency(old, roots[old], new, roots[new], tuple(log.tree(new).consistency(old)))
            for old, new in pairs
        ]


def witness_key(name: str) -> NoteKey:
    """The key that a witness cosigns with."""
    return NoteKey(name, seeded_key(name).public, COSIGNATURE)
