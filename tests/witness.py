"""Logs to be witnessed, honest and forked, and witnesses over real HTTP."""

import base64
import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from services.witness.server import listening, server, url_of
from services.witness.witness import Witness
from shared.checkpoint import Checkpoint
from shared.merkle import Tree, perfect_root
from shared.note import NoteKey
from shared.signing import SigningKey
from shared.words import LeafHash

ORIGIN = "trialtrail.example/NCT06027853"
LOG = SigningKey.from_seed(b"l" * 32)
THIEF = SigningKey.from_seed(b"t" * 32)
LOG_KEY = NoteKey(ORIGIN, LOG.public)


def leaves(count: int, mark: str = "honest") -> list[LeafHash]:
    """Leaf hashes; another mark, other leaves."""
    return [LeafHash(hashlib.sha256(f"{mark} {at}".encode()).digest()) for at in range(count)]


class Chain:
    """A log as far as a witness sees it: leaves, and a key that signs trees over them."""

    def __init__(self, leaves: Sequence[LeafHash], key: SigningKey = LOG, origin: str = ORIGIN) -> None:
        self.leaves = list(leaves)
        self._key = key
        self._origin = origin

    def forked(self, at: int, mark: str = "forked") -> "Chain":
        """A log of the same length and key that agrees with this one up to ``at`` entries."""
        return Chain([*self.leaves[:at], *leaves(len(self.leaves), mark)[at:]], self._key, self._origin)

    def tree(self, size: int) -> Tree:
        """The tree of the first entries."""
        return Tree(size, lambda height, at: perfect_root(self.leaves[at << height : (at + 1) << height]))

    def checkpoint(self, size: int) -> Checkpoint:
        """What the log says of its first entries."""
        return Checkpoint(self._origin, size, self.tree(size).root())

    def note(self, size: int) -> str:
        """The same, signed."""
        return self.checkpoint(size).sign(self._key)

    def body(self, old: int, size: int, proof: Sequence[bytes] | None = None) -> bytes:
        """A submission; its proof is the right one unless another is given."""
        return written(old, self.tree(size).consistency(old) if proof is None else proof, self.note(size))


def written(old: int, proof: Sequence[bytes], note: str) -> bytes:
    """A submission of any parts."""
    lines = [f"old {old}", *(base64.b64encode(one).decode() for one in proof)]
    return ("\n".join(lines) + "\n\n" + note).encode()


@contextmanager
def served(witness: Witness, address: str = "127.0.0.1:0") -> Iterator[str]:
    """A witness over real HTTP; yields its URL."""
    with listening(address) as listener:
        http = server(witness)
        thread = threading.Thread(target=http.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield url_of(listener)
        finally:
            http.should_exit = True
            thread.join()


@contextmanager
def witness_at(directory: Path, name: str | None = None) -> Iterator[tuple[Witness, str]]:
    """A witness of the log, over real HTTP; yields it and its URL."""
    witness = Witness.at(directory, name, [LOG_KEY])
    try:
        with served(witness) as url:
            yield witness, url
    finally:
        witness.close()
