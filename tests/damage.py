"""A data directory with all its parts, and every way in which what is kept there can be made to disagree."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.audit.publishing import Publisher
from services.audit.tile_store import store_at
from services.cli import fsck
from shared.checkpoint import Checkpoint
from shared.entry import read_entry
from shared.merkle import node_hash
from shared.outbox import Outbox
from shared.receipt import write_receipt
from shared.signing import SigningKey
from shared.words import SourceId
from tests.notary import LOG, LOG_KEY, REGISTERED, SITE, START, STRANGER, TRIAL, Office

Damage = Callable[[Path], None]
ENTRIES = 1_100


def make(directory: Path) -> None:
    """A real log of 1,193 entries, published, with a site's outbox and its receipts."""
    office = Office.founded(directory, clock="simulated", tick_seconds=60)
    outbox = Outbox.at(directory / "outbox" / "site-701.sqlite", SourceId("site/701"), TRIAL)
    now = START
    while office.notary.size < ENTRIES:
        payload = office.event("screening.registered", REGISTERED, subject=f"701-{office.notary.size:04}")
        sealed = office.seal([office.arrival(payload)])
        sequence = outbox.next_sequence()
        with outbox.engine.begin() as connection:
            outbox.keep(connection, [(sequence, payload)], SITE)
        assert outbox.confirm([receipt for _, receipt in sealed.receipts], LOG_KEY) == (1, [])
        now += timedelta(minutes=130)
        office.move_clock(now)
    outbox.close()
    log, checkpoints = office.notary.log, office.notary.checkpoints
    Publisher(store_at(str(directory / "tiles")), log, checkpoints, lambda: LOG_KEY).publish()
    office.notary.close()
    known = {"trial": TRIAL, "log_key": LOG_KEY.vkey(), "clock": "simulated"}
    (directory / "trial.json").write_text(json.dumps(known))


def copy_to(original: Path, directory: Path) -> Path:
    """A copy of it, with nothing in it that refuses changes, as its owner can make."""
    shutil.copytree(original, directory)
    for part in ("audit/log.sqlite", "checkpoints/checkpoints.sqlite"):
        with closing(sqlite3.connect(directory / part)) as database, database:
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                database.execute(f"DROP TRIGGER {name}")
    return directory


def check(directory: Path, capsys: pytest.CaptureFixture[str], **options: Any) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of `trail fsck`."""
    capsys.readouterr()
    code = fsck.check(directory, json_=True, **options)
    out = capsys.readouterr().out
    return code, json.loads(out[out.index("{\n") :])  # a witness in this process may say something before


def told(report: dict[str, Any]) -> list[str]:
    return [f"{one['kind']}: {one['where']} {one['what']}" for one in report["disagreements"]]


def in_log(*statements: str) -> Damage:
    return lambda directory: _change(directory / "audit" / "log.sqlite", statements)


def in_checkpoints(*statements: str) -> Damage:
    return lambda directory: _change(directory / "checkpoints" / "checkpoints.sqlite", statements)


def in_outbox(*statements: str) -> Damage:
    return lambda directory: _change(directory / "outbox" / "site-701.sqlite", statements)


def _change(path: Path, statements: Sequence[str]) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)


def in_file(path: str, change: Callable[[bytes], bytes] | None) -> Damage:
    """Change a published file; None deletes it."""

    def apply(directory: Path) -> None:
        target = directory / "tiles" / path
        if change is None:
            target.unlink()
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(change(target.read_bytes() if target.exists() else b""))

    return apply


def signed_anew(size: int, key: SigningKey = LOG) -> str:
    """A checkpoint over another tree of this size."""
    return Checkpoint(LOG_KEY.name, size, b"\x07" * 32).sign(key)


def kept(directory: Path) -> dict[int, str]:
    """The kept checkpoints, by size."""
    with closing(sqlite3.connect(directory / "checkpoints" / "checkpoints.sqlite")) as database:
        return dict(database.execute("SELECT size, note FROM checkpoints ORDER BY size"))


def note_forged(at: int, key: SigningKey = LOG) -> Damage:
    """Replace the ``at``-th kept checkpoint by another one, signed with a key."""

    def apply(directory: Path) -> None:
        size = list(kept(directory))[at]
        with closing(sqlite3.connect(directory / "checkpoints" / "checkpoints.sqlite")) as database, database:
            database.execute("UPDATE checkpoints SET note = ? WHERE size = ?", (signed_anew(size, key), size))

    return apply


def other_link(index: int) -> Damage:
    def apply(directory: Path) -> None:
        with closing(sqlite3.connect(directory / "audit" / "log.sqlite")) as database, database:
            (raw,) = database.execute("SELECT entry FROM entries WHERE idx = ?", (index,)).fetchone()
            prev = read_entry(raw).header.prev.hex().encode()
            other = raw.replace(prev, b"0" * 64)
            database.execute("UPDATE entries SET entry = ? WHERE idx = ?", (other, index))

    return apply


def swapped(directory: Path) -> None:
    in_log(
        "UPDATE entries SET idx = -1 WHERE idx = 80",
        "UPDATE entries SET idx = 80 WHERE idx = 81",
        "UPDATE entries SET idx = 81 WHERE idx = -1",
    )(directory)


def receipt_of_a_fork(directory: Path) -> None:
    """A receipt that holds, for an entry that the log has, under a checkpoint that contradicts it."""
    with closing(sqlite3.connect(directory / "audit" / "log.sqlite")) as database:
        entry = read_entry(database.execute("SELECT entry FROM entries WHERE idx = 0").fetchone()[0])
    other = bytes(32)
    note = Checkpoint(LOG_KEY.name, 2, node_hash(entry.leaf, other)).sign(LOG)
    with closing(sqlite3.connect(directory / "outbox" / "site-701.sqlite")) as database, database:
        database.execute(
            "UPDATE outbox SET payload = ?, idx = 0, receipt = ? WHERE sequence = 1",
            (entry.body, write_receipt(entry, [other], note)),
        )


FLIP = "UPDATE entries SET entry = CAST(replace(entry, 'female', 'fEmale') AS BLOB) WHERE idx = 137"
DAMAGE: dict[str, tuple[Damage, str]] = {
    # The entries.
    "an entry's body is changed": (
        in_log(FLIP),
        "changed entry: entry 137 is not the one that entry 138 links to",
    ),
    "an entry's link is changed": (
        other_link(138),
        "changed entry: entry 138 does not link to the one before it",
    ),
    "the last entry's link is changed": (
        other_link(1192),
        "changed entry: entry 1192 does not link to the one before it",
    ),
    "an entry is too long for a bundle": (
        in_log("UPDATE entries SET entry = CAST(entry || zeroblob(70000) AS BLOB) WHERE idx = 200"),
        "changed entry: entry 200 is not the one that entry 201 links to",
    ),
    "the last entry is changed": (
        in_log("UPDATE entries SET entry = CAST(entry || ' ' AS BLOB) WHERE idx = 1192"),
        (
            "contradicting checkpoint: checkpoint over 1193 entries is over another tree than the one these 1193 "
            "entries make"
        ),
    ),
    "an entry is no entry": (
        in_log("UPDATE entries SET entry = x'00' WHERE idx = 200"),
        "changed entry: entry 200 cannot be read: the entry has no header line",
    ),
    "an entry is no bytes": (
        in_log("UPDATE entries SET entry = 7 WHERE idx = 200"),
        "changed entry: entry 200 is not stored as bytes",
    ),
    "an entry is deleted": (
        in_log("DELETE FROM entries WHERE idx = 200"),
        "missing entry: entry 200 is missing",
    ),
    "two entries are swapped": (swapped, "changed entry: entry 80 says it is entry 81"),
    "two entries are swapped, the other": (swapped, "changed entry: entry 81 says it is entry 80"),
    "an entry is hidden before the first": (
        in_log("INSERT INTO entries SELECT -5, ref, entry FROM entries WHERE idx = 9"),
        "stray entry: entry -5 stands before the first entry",
    ),
    "the last entries are cut off": (
        in_log("DELETE FROM entries WHERE idx >= 1000"),
        "entries cut off: entry 1000 is the first that is missing; a checkpoint over 1193 entries was signed",
    ),
    "an entry is appended unsigned": (
        in_log("INSERT INTO entries SELECT 1193, ref, entry FROM entries WHERE idx = 9"),
        "unsigned entries: entries 1193 to 1193 are not covered by a signed checkpoint",
    ),
    "the table of entries is dropped": (
        in_log("DROP TABLE entries"),
        "unreadable database: database the database cannot be read: no such table: entries",
    ),
    "the register makes no sense": (
        in_log("UPDATE register SET value = 'x' WHERE key = 'log'"),
        "unreadable database: register the notary's saved register cannot be read: the database was changed",
    ),
    # What is stored of the tree.
    "a stored subtree is deleted": (
        in_log("DELETE FROM subtrees WHERE n = 2"),
        "stored subtree: stored subtree 0/2 is missing",
    ),
    "a hash in a stored subtree is changed": (
        in_log(
            "UPDATE subtrees SET hashes = "
            "CAST(substr(hashes, 1, 32) || zeroblob(32) || substr(hashes, 65) AS BLOB) WHERE n = 2"
        ),
        "stored subtree: stored subtree 0/2 has another hash for entry 513",
    ),
    "a stored subtree is cut short": (
        in_log("UPDATE subtrees SET hashes = x'00' WHERE n = 1"),
        "stored subtree: stored subtree 0/1 does not hold 256 hashes",
    ),
    "a stored subtree's root is changed": (
        in_log("UPDATE subtrees SET root = zeroblob(32) WHERE n = 3"),
        "stored subtree: stored subtree 0/3 has another root than its hashes make",
    ),
    "a stored subtree is invented": (
        in_log("INSERT INTO subtrees VALUES (1, 0, zeroblob(32), zeroblob(8192))"),
        "stored subtree: stored subtree 1/0 is of entries that are not there",
    ),
    "the table of subtrees is dropped": (
        in_log("DROP TABLE subtrees"),
        "stored subtree: the stored subtrees cannot be read: no such table: subtrees",
    ),
    # The checkpoints.
    "a checkpoint is signed over another tree": (
        note_forged(9),
        (
            "contradicting checkpoint: checkpoint over 269 entries is over another tree than the one these 269 "
            "entries make"
        ),
    ),
    "a checkpoint is signed by a stranger": (
        note_forged(9, STRANGER),
        (
            "contradicting checkpoint: checkpoint over 269 entries does not hold: the note is not signed by "
            f"{LOG_KEY.name} with the expected key"
        ),
    ),
    "a checkpoint is kept under another size": (
        in_checkpoints("UPDATE checkpoints SET size = 268 WHERE size = 269"),
        "contradicting checkpoint: checkpoint over 268 entries does not hold: it is signed over 269 entries",
    ),
    "a checkpoint is deleted": (
        in_checkpoints("DELETE FROM checkpoints WHERE size = 269"),
        (
            "missing checkpoint: checkpoint over 270 entries follows one over 269 entries, and the one kept before "
            "it is over 138"
        ),
    ),
    "the last checkpoint is deleted": (
        in_checkpoints("DELETE FROM checkpoints WHERE size = 1193"),
        "unsigned entries: entries 1062 to 1192 are not covered by a signed checkpoint",
    ),
    "an older file of checkpoints is put back": (
        in_checkpoints("DELETE FROM checkpoints WHERE size > 500"),
        (
            "missing checkpoint: checkpoint over 1062 entries was signed, as the register remembers; the last one "
            "kept is over 402"
        ),
    ),
    "the checkpoints are deleted": (
        lambda directory: shutil.rmtree(directory / "checkpoints"),
        "unsigned entries: entries 0 to 1192 are not covered by a signed checkpoint",
    ),
    "the checkpoints make no sense": (
        in_checkpoints("UPDATE checkpoints SET note = x'00' WHERE size = 269"),
        "contradicting checkpoint: checkpoints a checkpoint is not stored as text: the checkpoints were changed",
    ),
    # What is published.
    "a published tile is deleted": (
        in_file("tile/0/001", None),
        "missing tile: tile/0/001 at TILES is missing; the checkpoint over 1193 entries needs it",
    ),
    "a partial tile of an earlier checkpoint is deleted": (
        in_file("tile/entries/004.p/37", None),
        "missing tile: tile/entries/004.p/37 at TILES is missing; the checkpoint over 1193 entries needs it",
    ),
    "a published tile is changed": (
        in_file("tile/0/002", lambda old: bytes([old[0] ^ 1]) + old[1:]),
        "changed tile: tile/0/002 at TILES is not what entries 512 to 767 make",
    ),
    "a published tile of a higher level is changed": (
        in_file("tile/1/000.p/4", lambda old: old[::-1]),
        "changed tile: tile/1/000.p/4 at TILES is not what entries 0 to 1023 make",
    ),
    "a published bundle is cut short": (
        in_file("tile/entries/004.p/169", lambda old: old[:-1]),
        "changed tile: tile/entries/004.p/169 at TILES is not what entries 1024 to 1192 make",
    ),
    "a tile is published that nobody signed": (
        in_file("tile/0/004.p/170", lambda _: bytes(170 * 32)),
        "stray tile: tile/0/004.p/170 at TILES lies beyond the last signed checkpoint, over 1193 entries",
    ),
    "something is published among the tiles": (
        in_file("tile/0/notes.txt", lambda _: b"hello"),
        "stray tile: tile/0/notes.txt at TILES is not where a tile can be",
    ),
    "the published checkpoint is deleted": (
        in_file("checkpoint", None),
        "published checkpoint: checkpoint at TILES is missing",
    ),
    "the published checkpoint is none": (
        in_file("checkpoint", lambda _: b"\xff"),
        "published checkpoint: checkpoint at TILES is not one of this log: the note has no signature block",
    ),
    "the published checkpoint is ahead": (
        in_file("checkpoint", lambda _: signed_anew(1200).encode()),
        (
            "another published history: checkpoint at TILES is over 1200 entries and signed by this log; the last "
            "one here is over 1193"
        ),
    ),
    "the published checkpoint is of another history": (
        in_file("checkpoint", lambda _: signed_anew(1193).encode()),
        "another published history: checkpoint at TILES is over another tree than the one these 1193 entries make",
    ),
    # What sites hold.
    "a receipt is for another event": (
        in_outbox("UPDATE outbox SET payload = (SELECT payload FROM outbox WHERE sequence = 3) WHERE sequence = 2"),
        "receipt: a receipt of site-701 does not hold: the receipt does not prove that this event is in the log",
    ),
    "a receipt is none": (
        in_outbox("UPDATE outbox SET receipt = x'00' WHERE sequence = 4"),
        "receipt: a receipt of site-701 does not hold: it is not stored as one",
    ),
    "a receipt is for an entry that was changed since": (
        in_log(FLIP),
        "receipt: the receipt of site-701 for entry 137 proves another entry than the database has",
    ),
    "a receipt is for an entry that was cut off": (
        in_log("DELETE FROM entries WHERE idx >= 1000"),
        "receipt: the receipt of site-701 for entry 1061 proves another entry than the database has",
    ),
    "a receipt leads to another history": (
        receipt_of_a_fork,
        (
            "receipt: the checkpoint over 2 entries in the receipts of site-701 is over another tree than the one "
            "these 2 entries make"
        ),
    ),
}
