"""Writing an evidence bundle: a log, or a part of it, with all it takes to check it offline, in one zip.

The layout is docs/bundles.md's. The same log, policy and selection give the same bytes. Entries are read as they
are written, never all at once, and what is written is compared with the signed root before the zip appears.
"""

import base64
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from services.audit.tiles import WIDTH, Edge, Tile, write_bundle
from services.audit.timestamps import Timestamp
from services.console.bundle import verify
from services.console.bundle.archive import Archive, archive
from services.console.bundle.pages import Cover, readme, record
from services.console.bundle.selection import Selection, choose
from services.console.bundle.source import Evidence, Signed, entries_at, select
from services.console.private import Reader
from services.console.signatures import signed
from shared.entry import Entry
from shared.envelope import read_envelope
from shared.merkle import Frontier, root_from_inclusion
from shared.note import split_note
from shared.protocol.model import load_protocol
from shared.receipt import write_receipt
from shared.words import EvidenceError, LogIndex, ParticipantId, TrailError

_CHECKERS = ("verify.py", "verify.html")
Progress = Callable[[int], None]
"""Told how many entries are written."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: the selection, the size of the tree it is proven in, its entries by verdict."""

    selection: Selection
    size: int
    counts: dict[str, int]
    quorum: str


def export(
    target: Path,
    evidence: Evidence,
    *,
    site: str | None = None,
    participant: str | None = None,
    first: str | None = None,
    last: str | None = None,
    progress: Progress = lambda _done: None,
) -> Exported:
    """Write a bundle to ``target``; what of the log goes into it, :func:`select` says.

    Raises TrailError when it cannot be made as asked, EvidenceError when the log is not what was signed; then no
    file is left.
    """
    signed = Signed(evidence)
    selection = select(evidence, signed, site, participant, first, last)
    with archive(target) as out:
        writing = _Writing(out, evidence, signed, selection)
        try:
            return writing.write(progress)
        except verify.Broken as error:
            raise EvidenceError(f"the log is not one that a bundle could prove: {error}") from None


class _Writing:
    """One bundle in the making."""

    def __init__(self, out: Archive, evidence: Evidence, signed: Signed, selection: Selection) -> None:
        self._out = out
        self._evidence = evidence
        self._log = evidence.log
        self._signed = signed
        self._head = signed.head
        self._selection = selection
        # The very fold that will judge the bundle, so that what is derived from the entries is derived once.
        self._ledger = verify.Ledger(evidence.trial, signed.head.origin)
        self._documents: dict[int, str] = {}
        self._destroyed: dict[tuple[ParticipantId, str], LogIndex] = {}
        # The entries that gave the log another key; that key signs from the tree on that they are the last leaf of.
        self._rotations = [start - 1 for start, _ in signed.keys.keys[1:] if start <= signed.head.size]

    def write(self, progress: Progress) -> Exported:
        whole = self._selection.kind == "all"
        indices: Sequence[int] = range(self._head.size) if whole else self._chosen()
        entries = self._read(indices, progress)
        if whole:
            self._write_tiles(entries)
        else:
            self._write_proven(entries)
        timestamps = self._timestamps(indices)
        self._write_checkpoints({timestamp.size for timestamp in timestamps})
        self._write_timestamps(timestamps)
        self._write_protocols()
        self._out.add("identities.json", _json(list(self._ledger.identities.values())))
        self._write_pages(indices)
        return Exported(self._selection, self._head.size, self._ledger.counts, self._signed.policy.quorum)

    def _chosen(self) -> list[int]:
        return list(choose(self._selection, self._log.entries(0, self._selection.stop), self._rotations))

    def _read(self, indices: Sequence[int], progress: Progress) -> Iterator[Entry]:
        for done, entry in enumerate(entries_at(self._log, indices)):
            if done % WIDTH == 0:
                progress(done)
            self._ledger.take(verify.read_entry(entry.raw, entry.index), signed=entry.admitted)
            if entry.admitted and entry.header.subject.endswith((".protocol.adopted", ".protocol.amended")):
                self._documents[entry.index] = read_envelope(entry.body).data["document"]
            if entry.admitted and entry.header.subject.endswith(".privacy.erased"):
                erased = read_envelope(entry.body)
                assert erased.subject is not None
                self._destroyed.setdefault((erased.subject, erased.data["key"]), entry.index)
            yield entry

    def _write_tiles(self, entries: Iterator[Entry]) -> None:
        edge, tree = Edge(), Frontier()
        for n in range(-(-self._head.size // WIDTH)):
            width = min(WIDTH, self._head.size - n * WIDTH)
            bundle = [entry for _, entry in zip(range(width), entries, strict=False)]
            self._out.add(Tile(0, n, width).bundle_path, write_bundle(entry.raw for entry in bundle))
            leaves = [entry.leaf for entry in bundle]
            tree = tree.extend(leaves)
            for tile, _, hashes in edge.grow(leaves):
                self._out.add(tile.path, hashes)
        for level, partial in enumerate(edge.levels):
            if partial:
                n = (self._head.size >> (8 * level)) // WIDTH
                self._out.add(Tile(level, n, len(partial)).path, b"".join(partial))
        if tree.root() != self._head.root:
            raise _not_signed(self._head.size)

    def _write_proven(self, entries: Iterator[Entry]) -> None:
        tree, note = self._log.tree(self._head.size), self._signed.note(self._head.size)
        for entry in entries:
            path = tree.inclusion(entry.index)
            if root_from_inclusion(entry.leaf, entry.index, tree.size, path) != self._head.root:
                raise _not_signed(tree.size)
            self._out.add(f"entries/{entry.index}", entry.raw)
            self._out.add(f"proofs/{entry.index}.tlog-proof", write_receipt(entry, path, note).encode())

    def _write_checkpoints(self, stamped: set[int]) -> None:
        """The head, and every other checkpoint that this bundle speaks of, tied to it."""
        start, stop, head = self._selection.start, self._selection.stop, self._head.size
        self._out.add("checkpoint", self._signed.note(head).encode())
        self._out.add("policy", self._signed.policy.text().encode())
        # One that the log's first key signed, so that whoever knows that key can follow it through a rotation.
        before = {self._signed.at_most(index) for index in self._rotations[:1]}
        sizes = (stamped | before | {start, stop}) - {0, head}
        for size in sorted(sizes):
            if self._signed.checkpoint(size).root != self._log.tree(size).root():
                raise _not_signed(size)
            self._out.add(f"checkpoints/{size}", self._signed.note(size).encode())
        if self._selection.kind == "all":
            return  # the entries themselves tie them
        for size in sorted(sizes):
            newer = stop if size == start else head
            path = self._log.tree(newer).consistency(size)
            text = "".join(f"{base64.b64encode(node).decode()}\n" for node in path)
            self._out.add(f"consistency/{size}-{newer}", text.encode())

    def _timestamps(self, indices: Sequence[int]) -> list[Timestamp]:
        """Those to put in: of the whole log all; else for each entry the first ones that cover it."""
        known = [one for one in self._evidence.timestamps if one.size in self._signed]
        if self._selection.kind == "all":
            return known
        sizes = sorted({one.size for one in known})
        first = {sizes[at] for at in (bisect_right(sizes, index) for index in indices) if at < len(sizes)}
        return [one for one in known if one.size in first]

    def _write_timestamps(self, timestamps: Sequence[Timestamp]) -> None:
        for one in timestamps:
            if one.text != split_note(self._signed.note(one.size))[0]:
                raise EvidenceError(f"the timestamp of {one.authority} over {one.size} entries is not of this log")
            if one.authority not in self._evidence.roots:
                raise TrailError(
                    f"there are timestamps of {one.authority}, but timestamping.json does not name its roots any "
                    "more: put that line back, without its url if it is not to be asked"
                )
            self._out.add(f"timestamps/{one.size}.{one.authority}.tsr", one.token)
        for size, text in sorted({one.size: one.text for one in timestamps}.items()):
            self._out.add(f"timestamps/{size}.txt", text.encode())
        for name in sorted({one.authority for one in timestamps}):
            roots = b"".join(root.public_bytes(Encoding.PEM) for root in self._evidence.roots[name])
            self._out.add(f"timestamps/{name}.pem", roots)

    def _write_protocols(self) -> None:
        for index in sorted(self._ledger.documents.values()):
            document = self._documents[index]
            name = f"protocols/{_version(document, index)}.yaml"
            self._out.add(
                name if name not in self._out.digests else f"protocols/entry-{index}.yaml", document.encode()
            )

    def _write_pages(self, indices: Sequence[int]) -> None:
        chosen, head = self._selection, self._head
        quorum = self._signed.policy.quorum
        proves, lacks = verify.statements(chosen.kind, chosen.of, chosen.start, chosen.stop, head.size, quorum)
        cover = Cover(
            trial=self._evidence.trial,
            what=verify.title(chosen.kind, chosen.of, chosen.start, chosen.stop),
            checkpoint=self._signed.note(head.size),
            log_key=self._signed.keys.at(head.size).vkey(),
            proves=proves,
            does_not_prove=lacks,
        )
        self._out.add("README.txt", readme(cover).encode())
        for name in _CHECKERS:
            self._out.add(name, files(__package__).joinpath(name).read_bytes())
        # Of the whole log, whatever is in the bundle: what ended a signature may have been left out of it.
        book = signed(self._log.entries(0, self._head.size), Reader(self._destroyed))
        entries = entries_at(self._log, indices)
        self._out.stream("RECORD.html", record(cover, entries, self._ledger.identities, self._destroyed, book))
        manifest = {
            "format": verify.FORMAT,
            "trial": self._evidence.trial,
            "origin": head.origin,
            "size": head.size,
            "selection": chosen.kind,
            "of": chosen.of,
            "from": chosen.start,
            "to": chosen.stop,
            "counts": self._ledger.counts,
            "proves": proves,
            "does_not_prove": lacks,
            "files": dict(sorted(self._out.digests.items())),
        }
        self._out.add("manifest.json", _json(manifest))


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _version(document: str, index: int) -> str:
    """A protocol's version as a file's name; its entry where the document has none that can be read."""
    try:
        version = load_protocol(document).version
    except TrailError:
        return f"entry-{index}"
    return re.sub(r"[^A-Za-z0-9._-]", "_", version).lstrip("._-") or f"entry-{index}"


def _not_signed(size: int) -> EvidenceError:
    return EvidenceError(
        f"the log's first {size} entries are not those that were signed; `trail verify` and `trail fsck` say what "
        "was changed"
    )
