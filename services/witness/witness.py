"""A witness: its name and key, the directory it lives in, and what it answers to whoever submits a checkpoint."""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from services.witness.state import Evidence, Head, read_submission, signed_note
from services.witness.store import MOST_KEPT, Store
from shared.checkpoint import cosign
from shared.moments import stamp
from shared.note import COSIGNATURE, NoteKey
from shared.signing import Signer, SigningKey
from shared.words import EvidenceError, RefusedError, TrailError

PLAIN: Final = "text/plain; charset=utf-8"
SIZE: Final = "text/x.tlog.size"
_DEFAULT_NAME: Final = "witness.example/local"


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer over HTTP."""

    status: int
    text: str
    content_type: str = PLAIN


class Witness:
    """Cosigns the checkpoints of its logs as long as each continues the one before; ``clock`` in POSIX seconds."""

    def __init__(
        self, name: str, key: Signer, store: Store, clock: Callable[[], int] = lambda: int(time.time())
    ) -> None:
        self.name = name
        self.key = NoteKey(name, key.public, COSIGNATURE)
        self._signing_key = key
        self._store = store
        self._clock = clock

    @property
    def logs(self) -> dict[str, tuple[NoteKey, ...]]:
        """The keys of every log, by its origin; asked anew each time, because a key can be added while we run."""
        return self._store.trusted()

    @classmethod
    def at(
        cls,
        directory: Path,
        name: str | None = None,
        logs: Sequence[NoteKey] = (),
        forget: Sequence[NoteKey] = (),
    ) -> "Witness":
        """Open the witness of a directory, begun if there is none; from now on it trusts ``logs``, not ``forget``.

        Raises TrailError when its name is another one, something of it is missing, or it has no log to watch.
        """
        path, key_path, memory = directory / "witness.json", directory / "key.pem", directory / "witness.sqlite"
        known = _known_name(path)
        if not memory.exists() and (known is not None or key_path.exists()):
            raise TrailError(
                f"this witness has lost its memory: {memory} is missing, and without it the key would cosign a "
                "fork. Never go on with this key: begin another witness in an empty directory, and give its key "
                "to everyone whose policy names this one"
            )
        if known is not None and name not in {None, known}:
            raise TrailError(
                f"the witness in {directory} is {known} and cannot become {name}: its name is part of its key. "
                "Leave the name out, or begin another witness in a directory of its own"
            )
        store = Store(memory)
        try:
            if known is None:
                known = _begin(path, key_path, store, name or _DEFAULT_NAME)
            key = SigningKey.load(key_path)
            store.trust(logs)
            store.forget(forget)
            self = cls(known, key, store)
            if not self.logs:
                raise TrailError("this witness has no log to watch yet; give it a log's key with --log VKEY")
        except BaseException:
            store.close()
            raise
        return self

    def close(self) -> None:
        """Let go of the directory."""
        self._store.close()

    def add(self, body: bytes) -> Answer:
        """Answer an add-checkpoint request (c2sp.org/tlog-witness, "add-checkpoint").

        When it returns 200, what it cosigned is on disk. Raises SQLAlchemy's errors when it cannot be.
        """
        try:
            submission = read_submission(body)
        except RefusedError as error:
            return Answer(400, f"{error}\n")
        keys = self.logs.get(submission.checkpoint.origin)
        if keys is None:
            return Answer(404, "this witness does not know the log; ask its operator to add the log's key\n")
        try:
            note = signed_note(submission, keys)
        except EvidenceError as error:
            return Answer(403, f"{error}\n")
        ruling, head = self._store.rule(submission, note, self._clock())
        match ruling.status:
            case 200:
                return Answer(200, cosign(submission.text, self.name, self._signing_key, head.time))
            case 409:
                return Answer(409, f"{head.size}\n", SIZE)
            case status:
                return Answer(status, f"{ruling.why}\n")

    def about(self) -> str:
        """A page for people: who this is, and how far it has come with each log."""
        lines = [
            f"This is the witness {self.name}. It cosigns the checkpoints of the logs below as long as each one",
            "continues the one before, and keeps those that do not (c2sp.org/tlog-witness).",
            "",
            f"Key: {self.key.vkey()}",
            "Submit a checkpoint: POST /add-checkpoint. What was refused and kept: /forks",
            "",
        ]
        counts = self._store.counts()
        for origin in self.logs:
            head, kept = self._store.head(origin), sum(counts[origin, kind] for kind in Evidence)
            when = f", last cosigned at {_written(head.time)}" if head.note else ", never cosigned"
            against = f"; {kept} refused checkpoints kept" if kept else ""
            lines.append(f"{origin}: {head.size} entries{when}{against}")
        return "\n".join(lines) + "\n"

    def heads(self) -> dict[str, Head]:
        """What was last cosigned for each log, by its origin."""
        return {origin: self._store.head(origin) for origin in self.logs}

    def kept(self) -> dict[tuple[str, Evidence], int]:
        """How much of each kind of evidence is kept against each log."""
        counts = self._store.counts()
        return {(origin, kind): counts[origin, kind] for origin in self.logs for kind in Evidence}

    def health(self) -> dict[str, Any]:
        """The same for a program."""
        sizes = {origin: head.size for origin, head in self.heads().items()}
        return {"status": "well", "witness": self.key.vkey(), "logs": sizes}

    def forks(self) -> dict[str, Any]:
        """Everything that was refused and kept; ``full`` names the logs and kinds of which no more are kept."""
        return {
            "full": [
                [origin, kind] for (origin, kind), count in self._store.counts().items() if count >= MOST_KEPT
            ],
            "forks": [
                {
                    "origin": origin,
                    "kind": kept.kind,
                    "time": _written(kept.time),
                    "note": kept.note,
                    "cosigned": kept.cosigned,
                    "old": kept.old,
                    "proof": kept.proof.split(),
                }
                for origin in self.logs
                for kept in self._store.kept(origin)
            ],
        }


def _begin(path: Path, key_path: Path, store: Store, name: str) -> str:
    """Make what is missing of a new witness. Its name is written last: until then nothing was cosigned."""
    if store.has_cosigned():
        raise TrailError(f"{path} is missing; restore it: it holds the witness's name")
    if not key_path.exists():
        SigningKey.generate().save(key_path)
    public = SigningKey.load(key_path).public
    try:
        NoteKey.parse(NoteKey(name, public, COSIGNATURE).vkey(), COSIGNATURE)
    except EvidenceError:
        raise TrailError(
            f"{name!r} cannot be a witness's name; take one like example.org/witness, without spaces and plus signs"
        ) from None
    unfinished = path.with_suffix(".new")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump({"name": name}, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    return name


def _known_name(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text("utf-8"))["name"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise TrailError(f"{path} cannot be read; restore it: it holds the witness's name") from None


def _written(time_: int) -> str:
    return stamp(datetime.fromtimestamp(time_, UTC))
