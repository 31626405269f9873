"""The participants' privacy keys of one data directory, outside the log on purpose: what lies here can go.

``<participant>.key``          this directory's own key of a participant, made when the first text needs it
``<participant>.<from>.key``   a copy of another site's or sponsor's key, to read with
``<participant>.erased``       says that the keys were destroyed, or are being destroyed, and by which order

Whoever reads the directory reads the texts: guard it like a medical file, and keep it out of ordinary back-ups.
"""

import base64
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.envelope import is_token
from shared.private_text import ID_BYTES, KEY_BYTES, PrivacyKey
from shared.words import LogIndex, ParticipantId, RefusedError, TrailError

Random = Callable[[int], bytes]
"""So many fresh random bytes."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A participant's keys (by id) are destroyed, by order of entry ``ordered``; ``time``: when that began."""

    ordered: LogIndex
    time: str
    keys: tuple[str, ...]


class PrivacyKeys:
    """The keys in ``directory``, which need not exist yet."""

    def __init__(self, directory: Path, random: Random = os.urandom) -> None:
        self.directory = directory
        self._random = random

    def own(self, participant: ParticipantId) -> PrivacyKey | None:
        """This directory's own key of a participant; None where there is none, or it is to be gone.

        Raises TrailError when the file cannot be read.
        """
        path = self._path(participant, "key")
        if self.tombstone(participant) is not None or not path.exists():
            return None
        return _read(path, participant)

    def make(self, participant: ParticipantId) -> PrivacyKey:
        """This directory's own key of a participant, made where there is none; it is on disk when this returns.

        Raises RefusedError when the participant's keys were destroyed: a new one must not come by accident.
        """
        self.check_not_erased(participant)
        path = self._path(participant, "key")
        if not path.exists():
            key = PrivacyKey.of(self._random(ID_BYTES + KEY_BYTES))
            secret = base64.b64encode(key.secret).decode()
            self._write(path, {"participant": participant, "key": key.id, "secret": secret}, once=True)
        return _read(path, participant)

    def check_not_erased(self, participant: ParticipantId) -> None:
        """Raise RefusedError when the participant's keys were destroyed."""
        stone = self.tombstone(participant)
        if stone is not None:
            raise RefusedError(
                f"the personal detail of participant {participant} was erased by order of entry {stone.ordered}, "
                "and their key is destroyed: no private text can be sent about them any more. Say nothing "
                'personal, and add "private": false to the draft'
            )

    def find(self, participant: ParticipantId, key: str) -> PrivacyKey | None:
        """The key of this id, own or copied; None where it is not at hand or is to be gone."""
        if self.tombstone(participant) is not None:
            return None
        found = (_read(path, participant) for path in self._files(participant) if path.suffix == ".key")
        return next((one for one in found if one.id == key), None)

    def tombstone(self, participant: ParticipantId) -> Tombstone | None:
        """What is known here of the destruction of a participant's keys; None: nothing.

        Raises TrailError when it cannot be read.
        """
        path = self._path(participant, "erased")
        try:
            known = json.loads(path.read_text("utf-8"))
            return Tombstone(LogIndex(known["ordered"]), known["time"], tuple(known["keys"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise TrailError(f"{path} cannot be read; run `trail erase {participant}` again") from None

    def condemn(self, participant: ParticipantId, ordered: LogIndex, time: str) -> Tombstone:
        """Write down, durably, that the keys at hand are to be destroyed by an order; from here on none is used.

        Keys that have come back since an earlier order (out of a back-up) are condemned too.
        """
        before = self.tombstone(participant)
        here = set()
        for path in self._whole(participant):
            try:
                here.add(_read(path, participant).id)
            except TrailError:
                if before is None:
                    raise
                # We died when it was overwritten and not yet unlinked: its id is in the tombstone.
        if before is not None and here <= set(before.keys):
            return before
        stone = Tombstone(ordered, time, tuple(sorted(here | set(before.keys if before else ()))))
        self._write(self._path(participant, "erased"), {"participant": participant} | asdict(stone))
        return stone

    def destroy(self, participant: ParticipantId) -> int:
        """Destroy every key of a participant here, copies included; returns how many files went.

        They must be condemned first. If we die in between, the tombstone has none of them used again, and the next
        call goes on. A key that lies elsewhere, in a back-up for instance, is not reached.
        """
        assert self.tombstone(participant) is not None
        paths = list(self._files(participant))
        for path in paths:
            with path.open("r+b") as file:
                length = file.seek(0, os.SEEK_END)
                for filling in (self._random(length), bytes(length)):
                    file.seek(0)
                    file.write(filling)
                    file.flush()
                    os.fsync(file.fileno())
            path.unlink()
        if paths:
            self._sync()
        return len(paths)

    def present(self) -> Iterator[tuple[ParticipantId, Path]]:
        """Every key file here, with whose it is by its name."""
        for path in sorted(self.directory.glob("*.key")):
            yield ParticipantId(path.name.partition(".")[0]), path

    def _whole(self, participant: ParticipantId) -> list[Path]:
        return [path for path in self._files(participant) if not path.name.startswith(".")]

    def _files(self, participant: ParticipantId) -> Iterator[Path]:
        """A participant's key files, and what a killed :meth:`make` has left of one."""
        assert is_token(participant)  # anything else could reach files of others
        for pattern in (f"{participant}.key", f"{participant}.*.key", f".{participant}.key.*"):
            yield from sorted(self.directory.glob(pattern))

    def _path(self, participant: ParticipantId, what: str) -> Path:
        assert is_token(participant)
        return self.directory / f"{participant}.{what}"

    def _write(self, path: Path, content: dict[str, object], *, once: bool = False) -> None:
        """Write a file whole or not at all, and have it on disk; with ``once``, never over one that is there."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(json.dumps(content) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if once:
            try:
                path.hardlink_to(draft)
            except FileExistsError:
                pass  # made by another command at this moment: that one is the key
            finally:
                draft.unlink()
        else:
            draft.replace(path)
        self._sync()

    def _sync(self) -> None:
        handle = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _read(path: Path, participant: ParticipantId) -> PrivacyKey:
    try:
        known = json.loads(path.read_text("utf-8"))
        key = PrivacyKey(known["key"], base64.b64decode(known["secret"], validate=True))
        if known["participant"] != participant or len(key.secret) != KEY_BYTES or len(key.id) != 2 * ID_BYTES:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise TrailError(
            f"{path} is not a privacy key of participant {participant}; restore it, or move it away"
        ) from None
    return key
