"""Whom to trust for a log: its keys, its witnesses, and how many of them are enough (c2sp.org/tlog-policy).

A checkpoint is valid under a policy when a log of the policy signed it and a quorum of its witnesses cosigned it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shared.checkpoint import Checkpoint, Cosignature, open_checkpoint, open_cosignature
from shared.note import COSIGNATURE, NoteKey
from shared.words import EvidenceError, TrailError

NONE: Final = "none"
_ALLOWED: Final = re.compile(r"[\t\n\x20-\x7e\x80-\U0010ffff]*")
_BLANK: Final = re.compile(r"[ \t]+")


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness under its name in the policy; ``url`` is its submission prefix, empty where nobody asks it."""

    name: str
    key: NoteKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Has witnessed a checkpoint when at least ``threshold`` of its members have."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A log's policy: ``logs`` in the file's order, ``quorum`` the name of a witness or group, or ``none``."""

    logs: tuple[NoteKey, ...]
    witnesses: Mapping[str, Witness]
    groups: Mapping[str, Group]
    quorum: str = NONE

    @classmethod
    def parse(cls, text: str) -> "Policy":
        """Read a policy file.

        Raises TrailError naming the line and what is wrong with it.
        """
        reader = _Reader()
        if not _ALLOWED.fullmatch(text):
            raise TrailError("the policy holds a control character other than tab and line feed")
        for number, line in enumerate(text.split("\n"), 1):
            words = _BLANK.split(line.strip(" \t"))
            if words != [""] and not words[0].startswith("#"):
                try:
                    reader.take(words)
                except EvidenceError as error:
                    raise TrailError(f"line {number} of the policy: {error}") from None
        if reader.quorum is None:
            raise TrailError("the policy has no quorum line; `quorum none` asks for no cosignatures")
        return cls(tuple(reader.logs), reader.witnesses, reader.groups, reader.quorum)

    def text(self) -> str:
        """The policy as a file."""
        lines = [f"log {key.vkey()}" for key in self.logs]
        lines += [f"witness {one.name} {one.key.vkey()} {one.url}".rstrip() for one in self.witnesses.values()]
        lines += [f"group {name} {one.threshold} {' '.join(one.members)}" for name, one in self.groups.items()]
        return "\n".join([*lines, f"quorum {self.quorum}"]) + "\n"

    def is_met(self, names: frozenset[str]) -> bool:
        """Whether cosignatures of the witnesses of these names are enough."""
        return self.quorum == NONE or self._met(self.quorum, names)

    def counts(self, name: str, within: str | None = None) -> bool:
        """Whether a witness is one of those that the quorum is made of."""
        group = self.groups.get(within or self.quorum)
        if group is None:
            return name == (within or self.quorum)
        return any(self.counts(name, member) for member in group.members)

    def cosigned(self, note: str) -> dict[str, Cosignature]:
        """The cosignatures on a checkpoint's note by the policy's witnesses, by their names here.

        Raises EvidenceError when one of them is broken.
        """
        found = {name: open_cosignature(note, one.key) for name, one in self.witnesses.items()}
        return {name: one for name, one in found.items() if one is not None}

    def open(self, note: str) -> Checkpoint:
        """Verify a checkpoint under this policy, and read it.

        Raises EvidenceError when no log of the policy signed it, or too few witnesses cosigned it.
        """
        return open_checkpoint(note, self.signer(note))

    def signer(self, note: str) -> NoteKey:
        """The policy's log that signed a checkpoint which is valid under this policy.

        Raises EvidenceError as :meth:`open` does.
        """
        told = "the policy names no log"
        for log in self.logs:
            try:
                size = open_checkpoint(note, log).size
            except EvidenceError as error:
                told = str(error)
                continue
            cosigned = self.cosigned(note)
            if self.is_met(frozenset(cosigned)):
                return log
            by = " and ".join(cosigned) or "nobody"
            raise EvidenceError(
                f"the checkpoint over {size} entries is cosigned by {by}; the quorum is {self.quorum}"
            )
        raise EvidenceError(told)

    def _met(self, name: str, names: frozenset[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in names
        return sum(self._met(member, names) for member in group.members) >= group.threshold


class _Reader:
    """What the lines of a policy read so far have defined."""

    def __init__(self) -> None:
        self.logs: list[NoteKey] = []
        self.witnesses: dict[str, Witness] = {}
        self.groups: dict[str, Group] = {}
        self.quorum: str | None = None
        self._members: set[str] = set()

    def take(self, words: Sequence[str]) -> None:
        match words:
            case ["log", vkey] | ["log", vkey, _]:
                self._add_log(NoteKey.parse(vkey))
            case ["witness", name, vkey, *url] if len(url) <= 1:
                self._add_witness(name, NoteKey.parse(vkey, COSIGNATURE), "".join(url))
            case ["group", name, threshold, *members] if members:
                self._add_group(name, threshold, members)
            case ["quorum", name]:
                self._set_quorum(name)
            case _:
                raise EvidenceError(
                    "it reads neither log VKEY [URL], witness NAME VKEY [URL], group NAME all|any|K MEMBER..., "
                    "nor quorum NAME"
                )

    def _add_log(self, key: NoteKey) -> None:
        if any(key.public == known.public for known in self.logs):
            raise EvidenceError("this log's key is there already")
        self.logs.append(key)

    def _add_witness(self, name: str, key: NoteKey, url: str) -> None:
        self._is_new(name)
        if any(key.public == known.key.public for known in self.witnesses.values()):
            raise EvidenceError("this witness's key is there already, under another name")
        self.witnesses[name] = Witness(name, key, url)

    def _add_group(self, name: str, threshold: str, members: Sequence[str]) -> None:
        self._is_new(name)
        for member in members:
            self._is_known(member)
            if member in self._members:
                raise EvidenceError(f"{member} is a member of a group already")
            self._members.add(member)
        if threshold not in {"all", "any"} and not re.fullmatch(r"[1-9][0-9]{0,8}", threshold):
            raise EvidenceError(f"{threshold} is neither all, any, nor a number")
        count = {"all": len(members), "any": 1}.get(threshold) or int(threshold)
        if count > len(members):
            raise EvidenceError(f"a group of {len(members)} cannot need {count}")
        self.groups[name] = Group(count, tuple(members))

    def _set_quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise EvidenceError("there is a quorum line already")
        if name != NONE:
            self._is_known(name)
        self.quorum = name

    def _is_new(self, name: str) -> None:
        if name == NONE or name in self.witnesses or name in self.groups:
            raise EvidenceError(f"the name {name} is taken")

    def _is_known(self, name: str) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise EvidenceError(f"{name} is no witness or group of a line before")
