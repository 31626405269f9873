#!/usr/bin/env python3
"""Check a Trialtrail evidence bundle, offline: Python 3.8 or newer, nothing else, no network.

    python3 verify.py                 check the unpacked bundle that this file lies in
    python3 verify.py BUNDLE.zip      check a bundle as it was handed over (or a directory)
       --log-key VKEY                 the log's public key as you got it yourself, apart from the bundle
       --policy FILE                  log keys, witness keys and quorum as you got them yourself

Exit code 0: everything holds. 1: something does not, and the last sentence says what.

Whoever made the bundle may have made this file too: read it, or take it from a place that you trust. It goes
from signatures (RFC 8032) over Merkle trees (RFC 9162), signed notes and policies (c2sp.org: signed-note,
tlog-checkpoint, tlog-cosignature, tlog-policy) and entries to the bundle (tlog-tiles, tlog-proof) as a whole.
"""

# For Python 3.8, and without a docstring where the name says it all:
# ruff: noqa: B905, D101, D102, D103, DTZ007, FBT001, N818, UP006, UP017, UP035

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import multiprocessing
import re
import sys
import zipfile
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, List, NamedTuple, Tuple


class Broken(Exception):
    """Something does not hold; the sentence says what."""


def require(good: object, sentence: str) -> None:
    if not good:
        raise Broken(sentence)


# ---- Ed25519, as RFC 8032 section 5.1 has it. A point is (X, Y, Z, T): x = X/Z, y = Y/Z, xy = T/Z. ----

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)
Point = Tuple[int, int, int, int]
Rows = List[List[Point]]
NEUTRAL = (0, 1, 1, 0)


def add(p: Point, q: Point) -> Point:
    """Section 5.1.4; these formulas hold for all points, so they double as well."""
    a, b = (p[1] - p[0]) * (q[1] - q[0]), (p[1] + p[0]) * (q[1] + q[0])
    c, d = 2 * D * (p[3] * q[3] % P), 2 * p[2] * q[2]
    e, f, g, h = (b - a) % P, (d - c) % P, (d + c) % P, (b + a) % P
    return e * f % P, g * h % P, f * g % P, e * h % P


def decode_point(data: bytes) -> Point | None:
    """Section 5.1.3, strictly: None unless it is the one encoding of a point on the curve."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if (v * x * x + u) % P == 0:
        x = x * ROOT_OF_MINUS_1 % P
    if len(data) != 32 or y >= P or (v * x * x - u) % P or (sign and not x):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


def encode_point(p: Point) -> bytes:
    """Section 5.1.2."""
    inverse = pow(p[2], P - 2, P)
    return (p[1] * inverse % P | (p[0] * inverse % P & 1) << 255).to_bytes(32, "little")


def is_small(p: Point) -> bool:
    """Whether eight times the point is neutral: such a key or R fits many messages, and is refused."""
    for _ in range(3):
        p = add(p, p)
    return p[0] == 0


def multiples(point: Point, bits: int) -> Rows:
    """At [row][digit] digit * 2**(bits * row) * point: a scalar multiplication is then one addition a row."""
    rows = []
    for _ in range(0, 256, bits):
        row = [NEUTRAL]
        for _ in range(2**bits - 1):
            row.append(add(row[-1], point))
        rows.append(row)
        point = add(row[-1], point)
    return rows


def add_multiple(total: Point, scalar: int, rows: Rows) -> Point:
    for row in rows:
        scalar, digit = divmod(scalar, len(row))
        total = add(total, row[digit])
    return total


@lru_cache(maxsize=1)
def base_point() -> Rows:
    """Multiples of B, the point with y = 4/5 and an even x."""
    point = decode_point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
    assert point is not None
    return multiples(point, 8)


@lru_cache(maxsize=64)
def negated_key(public: bytes) -> Rows | None:
    """Multiples of -A; None for a key that no honest signer has."""
    point = decode_point(public)
    if point is None or is_small(point):
        return None
    return multiples((P - point[0], point[1], 1, P - point[3]), 4)


def ed25519(public: bytes, signature: bytes, message: bytes) -> bool:
    """Section 5.1.7, without cofactor: whether R is the encoding of [S]B - [h]A, with S below the order."""
    key, s = negated_key(public), int.from_bytes(signature[32:], "little")
    if key is None or len(signature) != 64 or s >= ORDER:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    r = add_multiple(add_multiple(NEUTRAL, s, base_point()), h, key)
    return encode_point(r) == signature[:32] and not is_small(r)


# ---- Merkle trees, as RFC 9162 section 2.1 has them; tiles, as c2sp.org/tlog-tiles. ----


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree that grows leaf by leaf. `levels[l]` are the hashes in its tiles on level l."""

    def __init__(self) -> None:
        self.size = 0
        self.peaks: list[bytes] = []  # roots of the perfect subtrees, largest first
        self.levels: list[list[bytes]] = [[] for _ in range(8)]

    def add(self, leaf: bytes) -> None:
        node, size, height = leaf, self.size, 0
        self.levels[0].append(leaf)
        while size & 1:
            node, size, height = node_hash(self.peaks.pop(), node), size >> 1, height + 1
            if height % 8 == 0:
                self.levels[height // 8].append(node)
        self.peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root

    def tiles(self) -> Iterator[tuple[str, bytes]]:
        for level, hashes in enumerate(self.levels):
            for n in range(0, len(hashes), 256):
                yield tile_name(str(level), n, len(hashes)), b"".join(hashes[n : n + 256])


def tile_name(level: str, start: int, end: int) -> str:
    """Where the tile is whose first hash is number `start` of the `end` on its level."""
    n, width = start // 256, min(end - start, 256)
    place = f"{n % 1000:03}"
    while n >= 1000:
        n //= 1000
        place = f"x{n % 1000:03}/{place}"
    return f"tile/{level}/{place}" if width == 256 else f"tile/{level}/{place}.p/{width}"


def climb(at: int, last: int, path: list[bytes], begun: bytes, whole: bytes) -> tuple[bytes, bytes] | None:
    """Sections 2.1.3.2 and 2.1.4.2: the roots that a proof leads to, of the leaves up to `at` and up to `last`."""
    for node in path:
        if last == 0:
            return None
        if at & 1 or at == last:
            begun, whole = node_hash(node, begun), node_hash(node, whole)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            whole = node_hash(whole, node)
        at, last = at >> 1, last >> 1
    return (begun, whole) if last == 0 else None


def is_included(leaf: bytes, index: int, size: int, root: bytes, path: list[bytes]) -> bool:
    found = climb(index, size - 1, path, leaf, leaf)
    return 0 <= index < size and found is not None and found[1] == root


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, path: list[bytes]) -> bool:
    if not 0 < old < new:
        return False
    # An old tree of a power of two leaves is a subtree of the new one, and the proof leaves its root out.
    path = path if old & (old - 1) else [old_root, *path]
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    return bool(path) and climb(at, last, path[1:], path[0], path[0]) == (old_root, new_root)


# ---- Signed notes, checkpoints, cosignatures, policies. ----


def unbase64(text: str, what: str) -> bytes:
    """The bytes of base64 in its one canonical form."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    require(base64.b64encode(data).decode() == text, f"{what} is not canonical base64")
    return data


class Key(NamedTuple):
    """A key of signed notes. `kind` is its signature type: 1 signs as a log, 4 cosigns as a witness."""

    name: str
    kind: int
    public: bytes

    def id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    def vkey(self) -> str:
        return f"{self.name}+{self.id().hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"


def read_vkey(text: str, kind: int) -> Key:
    name, _, rest = text.partition("+")
    key = Key(name, kind, unbase64(rest.partition("+")[2], f"the key {text!r}")[1:])
    sort = {1: "log's", 4: "witness's"}[kind]
    require(name and len(key.public) == 32 and key.vkey() == text, f"{text!r} is not a {sort} key, name+id+base64")
    return key


class Checkpoint(NamedTuple):
    """A log's signed statement that its first `size` entries have this root, and who cosigned it when."""

    size: int
    root: bytes
    log: Key
    cosigned: list[tuple[str, int]]  # the policy's name of a witness, POSIX time


class Policy:
    """Keys of logs and witnesses, and how many of the witnesses are enough."""

    def __init__(self, text: str) -> None:
        self.logs: list[Key] = []
        self.witnesses: dict[str, Key] = {}
        self.groups: dict[str, tuple[int, list[str]]] = {}
        self.quorum = ""
        require(not re.search("[\x00-\x08\x0b-\x1f\x7f]", text), "the policy holds a control character")
        for number, line in enumerate(text.split("\n"), 1):
            words = re.findall("[^ \t]+", line)
            if words and not words[0].startswith("#"):
                try:
                    self._take(words[0], words[1:])
                except Broken as error:
                    raise Broken(f"line {number} of the policy cannot be used: {error}") from None
        require(self.quorum, "the policy has no quorum line")

    def _take(self, kind: str, words: list[str]) -> None:
        known = {"none", *self.witnesses, *self.groups}
        few, many = {"log": (1, 2), "witness": (2, 3), "group": (3, 1000), "quorum": (1, 1)}.get(kind, (1, 0))
        require(few <= len(words) <= many, "it is no log, witness, group or quorum line")
        require(kind not in ("witness", "group") or words[0] not in known, f"the name {words[0]} is taken")
        if kind == "log":
            key = read_vkey(words[0], 1)
            require(key.public not in [one.public for one in self.logs], "the key is there already")
            self.logs.append(key)
        elif kind == "witness":
            key = read_vkey(words[1], 4)
            require(key.public not in [one.public for one in self.witnesses.values()], "the key has a name above")
            self.witnesses[words[0]] = key
        elif kind == "group":
            name, threshold, *members = words
            require(
                re.fullmatch("any|all|[1-9][0-9]{0,8}", threshold), f"{threshold} is neither any, all nor a number"
            )
            count = {"any": 1, "all": len(members)}.get(threshold) or int(threshold)
            fresh = {*members} & known - {"none"} - {one for _, group in self.groups.values() for one in group}
            require(count <= len(members) == len(fresh), "its members are to be named above, each in one group")
            self.groups[name] = count, members
        else:
            require(
                not self.quorum and words[0] in known, "there is a quorum above, or its name is not defined there"
            )
            self.quorum = words[0]

    def is_met(self, name: str, cosigned: set[str]) -> bool:
        count, members = self.groups.get(name, (1, []))
        return name in cosigned or name == "none" or sum(self.is_met(one, cosigned) for one in members) >= count

    def open(self, note: bytes, what: str, logs: list[Key]) -> Checkpoint:
        """A checkpoint that one of these logs signed, with its cosignatures by witnesses of this policy."""
        text, _, block = note.decode(errors="replace").rpartition("\n\n")
        text += "\n"
        lines = re.findall("— ([^\\s+]+) ([A-Za-z0-9+/=]+)\n", block)
        signed = "".join(f"— {name} {signature}\n" for name, signature in lines)
        good = f"{text}\n{signed}".encode() == note and not re.search("[\x00-\x09\x0b-\x1f]", text)
        require(good, f"{what} is not a signed note")
        signatures = [(name, unbase64(signature, f"a signature on {what}")) for name, signature in lines]

        def by(key: Key) -> list[bytes]:
            return [raw[4:] for name, raw in signatures if (name, raw[:4]) == (key.name, key.id())]

        logs, cosigned = [log for log in logs if by(log)], []
        require(logs, f"{what} is not signed with a log key of the policy")
        for log in logs:
            held = all(ed25519(log.public, signature, text.encode()) for signature in by(log))
            require(held, f"the signature of {log.name} on {what} is broken")
        for name, key in self.witnesses.items():
            for raw in by(key):
                time = int.from_bytes(raw[:8], "big")
                held = ed25519(key.public, raw[8:], f"cosignature/v1\ntime {time}\n{text}".encode())
                require(held, f"the cosignature of the witness {key.name} on {what} is broken")
                cosigned.append((name, time))
        origin, size, root = [*text.split("\n"), "", ""][:3]
        require(origin == logs[0].name, f"{what} is of {origin}, but signed with the key of {logs[0].name}")
        require(re.fullmatch("[1-9][0-9]{0,17}", size, re.ASCII), f"the size in {what} cannot be read")
        return Checkpoint(int(size), unbase64(root, f"the root in {what}"), logs[0], cosigned)


# ---- Entries: one line of header, a line feed, the event exactly as its source signed it. ----

STAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z", re.ASCII)
TEXTS = {"key", "prev", "sealed_at", "sig", "subject", "verdict"}
FIELDS = {**dict.fromkeys(TEXTS, str), "index": int, "intake": int, "v": int}


@dataclass
class Entry:
    index: int
    header: dict[str, Any]
    event: dict[str, Any] | None  # None when the body is no event that can be read
    body: bytes
    leaf: bytes


def read_entry(raw: bytes, index: int) -> Entry:
    line, _, body = raw.partition(b"\n")
    try:
        header = json.loads(line.decode())
        fields = {**FIELDS, "reason": str} if header["verdict"] == "refused" else FIELDS
        canonical = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        good = {name: type(value) for name, value in header.items()} == fields and raw == canonical + b"\n" + body
        good = good and header["verdict"] in ("admitted", "refused") and header["v"] in (1, 2, 3, 4)
        good = good and header["index"] >= 0 and re.fullmatch("[0-9a-f]{64}", header["prev"]) is not None
        good = good and STAMP.fullmatch(header["sealed_at"]) is not None
        datetime.strptime(header["sealed_at"], "%Y-%m-%dT%H:%M:%S.%fZ")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        good, header = False, {}
    require(good, f"the header of entry {index} is not in its one canonical form")
    require(header["index"] == index, f"what stands here as entry {index} says that it is entry {header['index']}")
    return Entry(index, header, read_event(body), body, leaf_hash(raw))


def read_event(body: bytes) -> dict[str, Any] | None:
    def no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError
        return dict(pairs)

    try:  # int() refuses NaN and Infinity, which JSON does not have
        event = json.loads(body.decode(), object_pairs_hook=no_name_twice, parse_constant=int)
        texts = all(type(event[name]) is str for name in ("source", "type", "trial", "sequence"))
        number = texts and re.fullmatch("[1-9][0-9]{0,15}", event["sequence"], re.ASCII)
        return event if number and type(event["data"]) is dict else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def key_id(public: bytes) -> str:
    return hashlib.sha256(public).hexdigest()[:32]


def is_signed(task: tuple[bytes | None, str, bytes]) -> bool:
    """Whether (public key, Trail-Signature, body) fit: DSSE v1, so that no signature is taken for another's."""
    public, signature, body = task
    try:
        raw = unbase64(signature, "")
    except Broken:
        return False
    message = b"DSSEv1 28 application/cloudevents+json %d %s" % (len(body), body)
    return public is not None and ed25519(public, raw, message)


def microseconds(text: str) -> datetime:
    """An RFC 3339 time with an offset, cut to microseconds."""
    match = re.fullmatch(r"([0-9T:-]{19})(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text, re.ASCII)
    if match is None:
        raise ValueError
    return datetime.strptime(f"{match[1]}.{(match[2] or '')[:6] or 0}{match[3]}", "%Y-%m-%dT%H:%M:%S.%f%z")


class Ledger:
    """What the entries taken so far, in the log's order, say about keys, numbers and protocols."""

    def __init__(self, trial: str, origin: str) -> None:
        self.trial, self.origin, self.clock = trial, origin, ""
        self.before: Entry | None = None
        self.counts = {"entries": 0, "admitted": 0, "refused": 0}
        self.log_keys: list[tuple[int, bytes]] = []  # (size of the smallest tree it may sign, key)
        self.identities: dict[str, dict[str, Any]] = {}
        self.numbers: dict[str, dict[int, tuple[int, bool]]] = {}  # source -> its number -> (entry, admitted)
        self.gaps: dict[str, list[tuple[int, int]]] = {}  # source -> numbers that a sealed gap names
        self.documents: dict[str, int] = {}  # SHA-256 of an adopted protocol -> entry
        self.leaves: dict[int, str] = {}  # of the entries that are here

    def take(self, entry: Entry, signed: bool) -> None:
        """The next entry; `signed`: its signature is that of the key it names, over its body."""
        here, head, event, before = f"entry {entry.index}", entry.header, entry.event, self.before
        if before is None:
            require(entry.index == 0, "entry 0, which names the log's keys, is not here")
            require(head["prev"] == "0" * 64, "entry 0 is linked to an entry before it")
            self._open(event if head["verdict"] == "admitted" else None)
        else:
            linked = head["prev"] == before.leaf.hex() or before.index + 1 != entry.index
            told = f"{here} is not linked to entry {before.index} as it is here: one of the two was changed"
            require(linked, told)
            later = before.header["sealed_at"] <= head["sealed_at"] and before.header["v"] <= head["v"]
            require(later, f"{here} says it was sealed earlier, or in an older format, than entry {before.index}")
        self.before = entry
        self.leaves[entry.index] = entry.leaf.hex()
        self.counts["entries"] += 1
        self.counts[head["verdict"]] += 1
        key = self.identities.get(head["key"])
        if head["verdict"] == "refused":
            if event and key and signed and key["source"] == event["source"]:
                use = entry.index, False
                self.numbers.setdefault(key["source"], {}).setdefault(int(event["sequence"]), use)
            return
        if not event or not key:
            raise Broken(f"{here} is admitted, but " + ("no entry here grants its key" if event else "is no event"))
        source, number = event["source"], int(event["sequence"])
        require(key["revoked"] is None, f"{here} is admitted, but its key was revoked by entry {key['revoked']}")
        since = key.get("suspended")
        require(since is None, f"{here} is admitted, but its key was suspended by entry {since}")
        until = key.get("until")
        alive = until is None or microseconds(head["sealed_at"]) < microseconds(until)
        require(alive, f"{here} is admitted, but its key expired at {until}")
        require(signed, f"{here} is admitted, but its signature is not that of key {key['key']} over its bytes")
        require(source == key["source"], f"{here} is of {source}, but its key speaks for {key['source']}")
        require(event["trial"] == self.trial, f"{here} belongs to another trial, {event['trial']}")
        earlier, admitted = self.numbers.setdefault(source, {}).get(number, (0, False))
        require(not admitted, f"{source} used its number {number} in {here} and in entry {earlier}")
        self.numbers[source][number] = entry.index, True
        try:
            self._learn(entry.index, event["type"], event["data"], set(key["roles"]))
            if event["type"] == "trialtrail.record.signed.v1":
                self._judge_signature(here, event["data"], key if head["v"] > 3 else None)
        except (LookupError, TypeError, ValueError, AttributeError):
            raise Broken(f"{here} is admitted, but its {event['type']} makes no sense here") from None

    def _open(self, event: dict[str, Any] | None) -> None:
        opens = event and (event["type"], event["source"]) == ("trialtrail.log.opened.v1", "admin/root")
        try:
            data = event["data"] if event and opens else {}
            origin, self.clock, texts = data["origin"], str(data["clock"]), (data["root_key"], data["log_key"])
            root, log = (unbase64(text, "a key in entry 0") for text in texts)
        except (LookupError, TypeError):
            raise Broken("entry 0 does not open a log") from None
        require(origin == self.origin, f"entry 0 opens the log {origin}, the checkpoint is one of {self.origin}")
        self._grant(0, root, "root", "admin/root", ["root"])
        self._grant(0, log, "log", "service/audit", ["log"])
        self.log_keys.append((0, log))

    def _judge_signature(self, here: str, data: dict[str, Any], key: dict[str, Any] | None) -> None:
        """A signature binds what is here, and shows the name, user id and a role of the key's own holder."""
        for one in data["records"]:
            same = self.leaves.get(one["index"], one["leaf"]) == one["leaf"] and one["index"] < int(here[6:])
            require(same, f"{here} signs entry {one['index']}, but not as it is here: one of the two was changed")
        if key is None:
            return  # sealed before persons had user ids
        shown, whose = f"{data['name']} ({data['user']})", f"{key['holder']} ({key.get('user')})"
        same = (data["name"], data["user"]) == (key["holder"], key.get("user")) and data["user"] is not None
        require(same, f"{here} shows the signature of {shown}, but its key is that of {whose}")
        require(
            data["role"] in key["roles"], f"{here} is signed as {data['role']}, which its key is not granted for"
        )

    def _grant(
        self, index: int, public: bytes, holder: str, source: str, roles: list[str], **more: str | None
    ) -> None:
        key = key_id(public)
        require(key not in self.identities, f"entry {index} grants the key {key} once more")
        identity = {"key": key, "public_key": base64.b64encode(public).decode(), "holder": holder, "source": source}
        self.identities[key] = {**identity, "roles": sorted(roles), "granted": index, "revoked": None}
        self._limit(key, **more)

    def _limit(self, key: str, **more: str | None) -> None:
        """Set a person's user id, or when the key expires; what is None was not said, and is left out."""
        for name, value in more.items():
            self.identities[key].pop(name, None)
            if value is not None:
                self.identities[key][name] = str(value)
        if more.get("until"):
            microseconds(str(more["until"]))

    def _learn(self, index: int, kind: str, data: dict[str, Any], roles: set[str]) -> None:
        def signed_by(*needed: str) -> None:
            require(roles & set(needed), f"entry {index} is a {kind}, but {' and '.join(sorted(roles))} signed it")

        if kind == "trialtrail.identity.granted.v1":
            signed_by("root", "administrator")
            public = unbase64(data["public_key"], f"the key in entry {index}")
            more = {name: data.get(name) for name in ("user", "until")}
            self._grant(index, public, data["holder"], data["source"], data["roles"], **more)
        elif kind == "trialtrail.identity.revoked.v1":
            signed_by("root", "administrator")
            self.identities[data["key"]]["revoked"] = index
        elif kind == "trialtrail.identity.changed.v1":
            signed_by("root", "administrator")
            self.identities[data["key"]]["roles"] = sorted(data["roles"])
            self._limit(data["key"], until=data.get("until"))
        elif kind == "trialtrail.identity.suspended.v1":
            signed_by("root", "administrator")
            self.identities[data["key"]]["suspended"] = index
        elif kind == "trialtrail.identity.reinstated.v1":
            signed_by("root", "administrator")
            del self.identities[data["key"]]["suspended"]
        elif kind == "trialtrail.identity.key_replaced.v1":
            signed_by("root", "administrator")
            old = self.identities[data["key"]]
            public, more = unbase64(data["public_key"], f"the key in entry {index}"), {"until": data.get("until")}
            self._grant(index, public, old["holder"], old["source"], old["roles"], user=old.get("user"), **more)
            old["revoked"] = index
            if "user" in old and "administrator" not in old["roles"]:  # until somebody else reinstates it
                self.identities[key_id(public)]["suspended"] = index
        elif kind == "trialtrail.identity.access_failed.v1":
            signed_by("site_system", "sponsor", "administrator", "root")
            if data["locked"]:  # somebody guessed at the passphrase
                self.identities[data["key"]].setdefault("suspended", index)
        elif kind == "trialtrail.log.key_rotated.v1":
            signed_by("root")
            self.identities[key_id(self.log_keys[-1][1])]["revoked"] = index
            public = unbase64(data["public_key"], f"the key in entry {index}")
            self._grant(index, public, "log", "service/audit", ["log"])
            self.log_keys.append((index + 1, public))
        elif kind == "trialtrail.log.gap_detected.v1":
            signed_by("log")
            self.gaps.setdefault(data["source"], []).append((int(data["first_missing"]), int(data["last_missing"])))
        elif kind in ("trialtrail.protocol.adopted.v1", "trialtrail.protocol.amended.v1"):
            self.documents[hashlib.sha256(data["document"].encode()).hexdigest()] = index

    def log_key(self, size: int) -> bytes:
        """The key that signs checkpoints over so many entries."""
        return [key for start, key in self.log_keys if start <= size][-1]

    def follow(self, source: str, start: int) -> str:
        """Whether a source's own numbers run on without a hole that no gap names; a sentence about them.

        An entry before `start` is here only to show how far the numbers had come.
        """
        uses = self.numbers.get(source, {})
        first = max((number for number, (index, admitted) in uses.items() if admitted and index < start), default=0)
        numbers = sorted(number for number in uses if number > first)
        holes = [(a + 1, b - 1) for a, b in zip([first, *numbers], numbers) if b - a > 1]
        for a, b in holes:
            known = any(low <= a and b <= high for low, high in self.gaps.get(source, []))
            lost = f"{source} used number {b + 1} in entry {uses[b + 1][0]}, but {b} is neither here nor in a gap"
            require(known, lost)
        told = f"{source}: " + (f"numbers {first + 1} to {numbers[-1]} are here" if numbers else "nothing is here")
        if holes:
            told += f", but for {', '.join(f'{a}' if a == b else f'{a} to {b}' for a, b in holes)}: named by gaps"
        refused = [one for one in numbers if not uses[one][1]]
        return told + "".join(f"; {one} was refused, in entry {uses[one][0]}" for one in refused)


# ---- The bundle. ----

FORMAT = "trialtrail-bundle/1"
LARGEST = 1 << 28  # of the files that are read at once
FOR_READING = {"README.txt", "RECORD.html", "verify.py", "verify.html"}
MANIFEST = {"format": str, "trial": str, "origin": str, "size": int, "selection": str, "from": int, "to": int}
MANIFEST.update({"counts": dict, "proves": list, "does_not_prove": list, "files": dict})


def title(kind: str, of: Any, start: int, stop: int) -> str:
    names = {"all": "the whole log", "range": f"entries {start} to {stop - 1}", "participant": f"participant {of}"}
    return names.get(kind, f"{of}")


def statements(kind: str, of: Any, start: int, stop: int, size: int, quorum: str) -> tuple[list[str], list[str]]:
    """What a bundle that holds proves, and what it does not; its manifest must say just that."""
    some, site, participant = kind != "all", kind == "site", kind == "participant"
    proves = [
        (True, f"The log's key signed a checkpoint over {size} entries; cosigned as the policy asks: {quorum}."),
        (True, "Every entry here is in that log, at its index, byte for byte."),
        (True, "Every admitted event here is signed with a key that an entry before it granted to its source."),
        (not some, "These are all entries of that log, in their order: none is missing, added or changed."),
        (kind == "range", f"Of the entries {start} to {stop - 1} none is missing, added or changed."),
        (site, f"From the first number of {of} here to the last, each is in an entry here or in a gap."),
        (site, "A gap is the log's sealed statement that a number had not arrived when a later one did."),
    ]
    lacks = [
        (True, "That what a source recorded is true: only who signed it, and that it was not changed since."),
        (True, "That the notary ruled as it should: `trail verify` judges rules and roles, on the whole log."),
        (True, "That an entry was sealed when it says: that is the log's word, within the timestamps here."),
        (True, f"That nothing was sealed after entry {size - 1}."),
        (True, "That README.txt and RECORD.html say what the entries say: nobody signed them."),
        (quorum == "none", "That everybody is shown the same log: this policy asks for no witness."),
        (some, "That a key used here was not revoked by an entry that is not here."),
        (site, f"That {of} gave no event a number beyond the last one here."),
        (site, "That a number which a gap names did not arrive later, in an entry that is not here."),
        (site, f"That what others sealed about the participants of {of} is all here."),
        (participant, f"That these are all entries about {of}: a source's numbers run over all its participants."),
    ]
    return [text for holds, text in proves if holds], [text for holds, text in lacks if holds]


class Files:
    """The files of a bundle, in a zip or a directory, each as its manifest names it."""

    def __init__(self, path: Path) -> None:
        self.path, self.used = path, {"manifest.json"}
        self.manifest: dict[str, Any] = {}
        try:
            self.zip = None if path.is_dir() else zipfile.ZipFile(path)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise Broken(f"{path} cannot be opened as a zip or a directory: {error}") from None
        manifest = self.json("manifest.json")
        good = type(manifest) is dict and manifest.get("format") == FORMAT
        require(good, f"manifest.json is not that of a {FORMAT}; a newer bundle has a newer verify.py in it")
        types = {name: type(value) for name, value in manifest.items() if name != "of"}
        require(types == MANIFEST and "of" in manifest, "manifest.json has not the fields it should have")
        self.names, self.manifest = sorted(manifest["files"]), manifest
        plain = all(
            re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*", name, re.ASCII) for name in self.names
        )
        require(plain, "manifest.json names a file in a way that no bundle does")
        inside = self.zip.namelist() if self.zip else []
        stray = {*inside} - {"manifest.json", *self.names}
        require(not stray, f"the zip holds {min(stray, default='')}, which manifest.json does not name")
        require(len(inside) == len({*inside}), "the zip holds two files of one name")
        for name in FOR_READING:
            for _ in self.chunks(name):
                pass

    def chunks(self, name: str) -> Iterator[bytes]:
        """A file's bytes, part by part, and at the end whether they are those that the manifest names."""
        digest = hashlib.sha256()
        try:
            with self.zip.open(name) if self.zip else (self.path / name).open("rb") as file:
                for chunk in iter(lambda: file.read(1 << 20), b""):
                    digest.update(chunk)
                    yield chunk
        except (KeyError, FileNotFoundError):
            raise Broken(f"{name} is missing") from None
        except (OSError, ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
            raise Broken(f"{name} cannot be read: {error}") from None
        same = not self.manifest or self.manifest["files"].get(name) == digest.hexdigest()
        require(same, f"{name} is not as manifest.json names it")
        self.used.add(name)

    def read(self, name: str) -> bytes:
        data = b""
        for chunk in self.chunks(name):
            data += chunk
            require(len(data) < LARGEST, f"{name} is larger than it can be")
        return data

    def text(self, name: str) -> str:
        try:
            return self.read(name).decode()
        except UnicodeDecodeError:
            raise Broken(f"{name} is not UTF-8") from None

    def json(self, name: str) -> Any:
        try:
            return json.loads(self.text(name))
        except (ValueError, RecursionError):
            raise Broken(f"{name} is not JSON") from None

    def find(self, pattern: str) -> list[tuple[str, list[int]]]:
        """Names that match, with the numbers in them, in the order of those."""
        found = [match for match in (re.fullmatch(pattern, name, re.ASCII) for name in self.names) if match]
        return sorted(((match[0], [int(one) for one in match.groups()]) for match in found), key=lambda one: one[1])


class Check:
    """One check of one bundle; `own` are the keys that whoever checks trusts, None: those in the bundle."""

    def __init__(self, files: Files, own: Policy | None) -> None:
        self.files, self.manifest, self.own = files, files.manifest, own
        self.run: Callable[..., Iterable[bool]] = map  # over the signatures; or a map over several processes
        theirs = Policy(files.text("policy"))
        policy = own or theirs
        # Which of the log's keys may sign what, its entries tell; that one of them is trusted is asked at the end.
        logs = [*theirs.logs, *(own.logs if own else [])]
        self.head = policy.open(files.read("checkpoint"), "the checkpoint", logs)
        by = {name for name, _ in self.head.cosigned}
        told = (
            f"the checkpoint is cosigned by {' and '.join(sorted(by)) or 'nobody'}; the quorum is {policy.quorum}"
        )
        require(policy.is_met(policy.quorum, by), told)
        self.others = {  # checkpoints that are still to be tied to this one
            size: policy.open(files.read(name), name, logs)
            for name, (size,) in files.find(r"checkpoints/(\d{1,15})")
        }
        self.roots = {self.head.size: self.head.root}  # of trees that are known to be this log's
        self.ledger, self.tree = Ledger(self.manifest["trial"], self.head.log.name), Tree()
        same = (self.head.log.name, self.head.size) == (self.manifest["origin"], self.manifest["size"])
        require(same, "manifest.json speaks of another checkpoint")
        self.kind, self.of = self.manifest["selection"], self.manifest["of"]
        self.start, self.stop = self.manifest["from"], self.manifest["to"]
        said = self._statements(theirs.quorum) == (self.manifest["proves"], self.manifest["does_not_prove"])
        require(said, "manifest.json does not say what such a bundle proves and what not")
        self.proves, self.lacks = self._statements(policy.quorum)

    def _statements(self, quorum: str) -> tuple[list[str], list[str]]:
        return statements(self.kind, self.of, self.start, self.stop, self.head.size, quorum)

    def __call__(self) -> list[str]:
        """Check everything; sentences about what was found."""
        indices = sorted({index for _, (index,) in self.files.find(r"entries/(\d{1,15})")})
        if self.kind == "all":
            self._take(self._whole_log())
            self._compare_tree()
        else:
            self._take(self._some(indices))
            self._follow_consistency()
        self._judge_checkpoints()
        self._judge_selection(set(indices))
        self._judge_derived()
        counts, sources = (
            self.ledger.counts,
            {"all": sorted(self.ledger.numbers), "site": [self.of]}.get(self.kind, []),
        )
        found = ["{entries} entries: {admitted} admitted, {refused} refused".format(**counts)]
        for name, time in self.head.cosigned:
            found.append(
                f"{name} cosigned the checkpoint at {datetime.fromtimestamp(min(time, 1 << 35), timezone.utc)}"
            )
        found += [self.ledger.follow(source, self.start) for source in sources] + self._timestamps()
        stray = set(self.files.names) - self.files.used
        require(not stray, f"{min(stray, default='')} does not belong into this bundle")
        return found

    def _take(self, entries: Iterator[Entry]) -> None:
        """Take all entries in order; signatures are checked for many at once, so that all cores have work."""
        publics: dict[str, bytes] = {}
        while True:
            batch = [entry for _, entry in zip(range(1024), entries)]
            if not batch:
                return
            for entry in batch:  # a key is known by its hash, so it can be tried before its grant is judged
                data = entry.event["data"] if entry.event else {}
                for text in (data.get(name) for name in ("public_key", "root_key", "log_key")):
                    if isinstance(text, str) and re.fullmatch("[A-Za-z0-9+/]{43}=", text):
                        publics[key_id(base64.b64decode(text))] = base64.b64decode(text)
            tasks = [(publics.get(one.header["key"]), one.header["sig"], one.body) for one in batch]
            for entry, signed in zip(batch, self.run(is_signed, tasks)):
                self.ledger.take(entry, signed)

    def _whole_log(self) -> Iterator[Entry]:
        for start in range(0, self.head.size, 256):
            name = tile_name("entries", start, self.head.size)
            bundle, at = self.files.read(name), 0
            for index in range(start, min(start + 256, self.head.size)):
                begin, at = at + 2, at + 2 + int.from_bytes(bundle[at : at + 2], "big")
                require(begin <= at <= len(bundle), f"{name} ends before entry {index} does")
                entry = read_entry(bundle[begin:at], index)
                self.tree.add(entry.leaf)
                if self.tree.size in self.others:
                    self.roots[self.tree.size] = self.tree.root()
                yield entry
            require(at == len(bundle), f"{name} holds more entries than it should")

    def _compare_tree(self) -> None:
        require(self.tree.root() == self.head.root, "the entries do not hash to the root in the checkpoint")
        for name, hashes in self.tree.tiles():
            require(self.files.read(name) == hashes, f"{name} does not hold the hashes of the entries")

    def _some(self, indices: list[int]) -> Iterator[Entry]:
        note = self.files.text("checkpoint")
        for index in indices:
            raw, name = self.files.read(f"entries/{index}"), f"proofs/{index}.tlog-proof"
            proof, _, checkpoint = self.files.text(name).partition("\n\n")
            extra, lines = base64.b64encode(raw.partition(b"\n")[0]).decode(), proof.split("\n")
            start = ["c2sp.org/tlog-proof@v1", f"extra {extra}", f"index {index}"]
            good = lines[:3] == start and checkpoint == note
            require(good, f"{name} is not about entry {index} as it is here, and the checkpoint")
            path = [unbase64(line, f"a hash in {name}") for line in lines[3:]]
            good = is_included(leaf_hash(raw), index, self.head.size, self.head.root, path)
            require(good, f"{name} does not prove that entry {index} is in the log: one of the two was changed")
            yield read_entry(raw, index)

    def _follow_consistency(self) -> None:
        for name, (old, new) in sorted(
            self.files.find(r"consistency/(\d{1,15})-(\d{1,15})"), key=lambda one: -one[1][1]
        ):
            path = [unbase64(line, f"a hash in {name}") for line in self.files.text(name).split("\n")[:-1]]
            require(old in self.others and new in self.roots, f"{name} is about a checkpoint that is not here")
            good = is_consistent(old, self.others[old].root, new, self.roots[new], path)
            require(good, f"{name} does not prove that the log of {old} entries became that of {new}")
            self.roots[old] = self.others[old].root

    def _judge_checkpoints(self) -> None:
        """Every checkpoint is one of this log, signed with the key of its time; one of the keys is trusted."""
        require(self.ledger.log_keys, "entry 0, which names the log's keys, is not here")
        for size, one in [*self.others.items(), (self.head.size, self.head)]:
            good = one.size == size and one.root == self.roots.get(size)
            require(good, f"the checkpoint over {size} entries is not shown to be one of this log")
            good = one.log.public == self.ledger.log_key(size)
            require(good, f"the checkpoint over {size} entries is signed with a key that was not the log's then")
        # A later key is the log's because the root signed so, and the root is named by what the first key signed.
        signed = {one.log for one in (self.head, *self.others.values()) if one.log.public == self.ledger.log_key(0)}
        trusted = {*self.own.logs} & {self.head.log, *signed} if self.own else True
        require(trusted, f"the log's key here is {self.head.log.vkey()}, not the one that you gave")

    def _judge_selection(self, indices: set[int]) -> None:
        start, stop = self.start, self.stop
        named = {"all": type(None), "range": type(None), "site": str, "participant": str}
        good = named.get(self.kind) is type(self.of) and (
            self.kind != "all" or (start, stop) == (0, self.head.size)
        )
        require(good and 0 <= start < stop, "manifest.json does not say what was selected")
        ends = {start, stop} - {0} <= set(self.roots)
        require(ends, f"the checkpoints over {start} and {stop} entries, its beginning and end, are not here")
        lost = next((index for index in range(start, stop) if index not in indices), None)
        require(self.kind != "range" or lost is None, f"entry {lost} is missing")
        same = self.manifest["counts"] == self.ledger.counts
        require(same, f"manifest.json counts {self.manifest['counts']}, here are {self.ledger.counts}")

    def _judge_derived(self) -> None:
        """What was made from the entries, for reading, says what they say."""
        same = self.files.json("identities.json") == list(self.ledger.identities.values())
        require(same, "identities.json is not what the entries here say about keys")
        documents = dict(self.ledger.documents)
        for name, _ in self.files.find(r"protocols/[^/]+\.yaml"):
            good = documents.pop(hashlib.sha256(self.files.read(name)).hexdigest(), None)
            require(good is not None, f"{name} is not a protocol that an entry here adopted")
        lost = min(documents.values(), default=0)
        require(not documents, f"the protocol that entry {lost} adopted is not in protocols/")

    def _timestamps(self) -> list[str]:
        """What can be told of RFC 3161 tokens without X.509, and the commands that tell the rest."""
        told = []
        for name, (size,) in self.files.find(r"timestamps/(\d{1,15})\.txt"):
            note = "checkpoint" if size == self.head.size else f"checkpoints/{size}"
            text = self.files.read(name)
            good = size in self.roots and self.files.read(note).startswith(text + b"\n\xe2\x80\x94 ")
            require(good, f"{name} is not the text of a checkpoint over {size} entries that is here")
            for token, _ in self.files.find(rf"timestamps/{size}\.[A-Za-z0-9_-]+\.tsr"):
                data, imprint = self.files.read(token), b"\x04\x20" + hashlib.sha256(text).digest()
                time = re.search(re.escape(imprint) + rb".{2,30}?\x18.(\d{14})", data, re.DOTALL)
                try:
                    says = datetime.strptime(f"{time[1].decode() if time else ''}+0000", "%Y%m%d%H%M%S%z")
                except ValueError:
                    raise Broken(f"{token} is not a timestamp over {name}") from None
                roots = f"timestamps/{token.split('.')[1]}.pem"
                self.files.read(roots)
                files = f"-data {name} -in {token} -CAfile {roots}"
                told.append(
                    f"{token} says that the first {size} entries existed at {says}. To check that:\n"
                    f"    openssl ts -verify -attime {says.timestamp():.0f} {files}"
                )
        return told


def say(*lines: str) -> None:
    for line in lines:  # nothing in a bundle may command a terminal
        sys.stdout.write("".join(one if one.isprintable() or one == "\n" else "?" for one in line) + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description="Check a Trialtrail evidence bundle, offline.")
    parser.add_argument("bundle", nargs="?", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--log-key", metavar="VKEY", help="the log's public key as you got it yourself")
    parser.add_argument("--policy", metavar="FILE", type=Path, help="the policy as you got it yourself")
    given = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        files = Files(given.bundle)
        own = Policy(given.policy.read_text("utf-8")) if given.policy else None
        if given.log_key:
            own = own or Policy(files.text("policy"))
            own.logs = [read_vkey(given.log_key, 1)]
        check = Check(files, own)
        what = title(check.kind, check.of, check.start, check.stop)
        say(f"{given.bundle.name}: {what}, of {check.head.log.name} with {check.head.size} entries")
        with ExitStack() as ended:
            if check.head.size > 500:
                pool = ended.enter_context(multiprocessing.Pool())
                check.run = lambda task, items: pool.map(task, items, 32)
            found = check()
    except Broken as error:
        say("", f"THIS BUNDLE DOES NOT HOLD: {error}.")
        return 1
    except Exception as error:  # whatever a malformed file leads to, nobody should have to read a traceback
        say("", f"THIS BUNDLE DOES NOT HOLD: it cannot be read ({type(error).__name__}: {error}).")
        return 1
    say("", "THIS BUNDLE HOLDS.", *found, "", "It proves:", *(f"- {one}" for one in check.proves))
    say("", "It does not prove:", *(f"- {one}" for one in check.lacks), "")
    if check.ledger.clock == "simulated":
        say("ITS CLOCK IS SIMULATED: it holds a synthetic study, not a trial.")
    whose = "as you gave it" if own else "AS THE BUNDLE SAYS: whoever makes up a log makes up its key as well"
    say(f"The log's key, {whose}:", f"    {check.head.log.vkey()}")
    if not given.policy:
        say("The witnesses' keys are those in the bundle; give --policy to check with your own.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
