"""The log's own database: entries that are only ever added, and what the notary needs to go on after a stop."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    func,
    insert,
    select,
)
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import DatabaseError, IntegrityError

from services.audit.admission import Reading, kept_body, ref_of
from services.audit.register import Register
from services.audit.register_rows import read_register, register_rows
from services.audit.sealing import Batch, Tail
from services.audit.subtrees import Subtrees, subtrees_table
from services.audit.tiles import WIDTH, Edge
from shared.database import append_only, sqlite
from shared.entry import Entry, leaf_hash, read_entry
from shared.envelope import read_envelope
from shared.merkle import Tree
from shared.words import EvidenceError, LogIndex, SourceId, TrailError

_METADATA: Final = MetaData()
_ENTRIES: Final = Table(
    "entries",
    _METADATA,
    Column("idx", Integer, primary_key=True, autoincrement=False),
    Column("ref", BigInteger, nullable=False),
    Column("entry", LargeBinary, nullable=False),
)
Index("entries_by_ref", _ENTRIES.c.ref)
_SUBTREES: Final = subtrees_table(_METADATA)
_REGISTER: Final = Table(
    "register",
    _METADATA,
    Column("key", String(160), primary_key=True),
    Column("value", Text, nullable=False),
)
for _table in (_ENTRIES, _SUBTREES):
    append_only(_table, "the log is append-only")

# One statement text each, so that SQLAlchemy compiles it once.
_INSERT: Final = insert(_ENTRIES)
_BY_REF: Final = select(_ENTRIES.c.ref, _ENTRIES.c.idx, _ENTRIES.c.entry).where(
    _ENTRIES.c.ref.in_(bindparam("refs", expanding=True))
)
_ONE: Final = select(_ENTRIES.c.entry).where(_ENTRIES.c.idx == bindparam("idx"))
_RAWS: Final = (
    select(_ENTRIES.c.entry)
    .where(_ENTRIES.c.idx >= bindparam("start"), _ENTRIES.c.idx < bindparam("stop"))
    .order_by(_ENTRIES.c.idx)
)
_RANGE: Final = (
    select(_ENTRIES.c.idx, _ENTRIES.c.ref, _ENTRIES.c.entry)
    .where(_ENTRIES.c.idx >= bindparam("start"), _ENTRIES.c.idx < bindparam("stop"))
    .order_by(_ENTRIES.c.idx)
)
_CHUNK: Final = 1000


class Row(NamedTuple):
    """A row of the entries table as it is stored; ``ref`` is None where an entry comes from elsewhere."""

    idx: int
    ref: int | None
    raw: bytes


class Log:
    """The entries of one trial, in one database."""

    def __init__(self, engine: Engine, *, read_only: bool = False) -> None:
        self.engine = engine
        self._read_only = read_only
        self.subtrees = Subtrees(_SUBTREES, self._reading, self._leaves)
        self._edge: Edge | None = None

    @classmethod
    def at(cls, path: Path, *, read_only: bool = False) -> "Log":
        """Open the log in a SQLite file, made if it is not there (unless read only).

        Raises TrailError when there is nothing to read.
        """
        if read_only and not path.exists():
            raise TrailError(f"there is no log at {path}; give the data directory with --data")
        log = cls(sqlite(path, read_only=read_only), read_only=read_only)
        if not read_only:
            _METADATA.create_all(log.engine)
            log._complete_subtrees()
        return log

    def close(self) -> None:
        """Let go of the file."""
        self.engine.dispose()

    def size(self) -> int:
        """The number of entries: one more than the highest index.

        Raises EvidenceError when the file is no longer a readable database.
        """
        with self._reading() as connection:
            highest = connection.execute(select(func.max(_ENTRIES.c.idx))).scalar()
            return 0 if highest is None else highest + 1

    def tail(self) -> Tail:
        """Where the log ends."""
        size = self.size()
        if size == 0:
            return Tail()
        last = self.entry(size - 1)
        return Tail(self.tree(size).frontier(), last.leaf, last.header.sealed_at)

    def tree(self, size: int) -> Tree:
        """The tree of the first ``size`` entries, over stored subtrees."""
        return self.subtrees.tree(size)

    def register(self, trial: str) -> Register:
        """What admission remembers, as saved with the last batch."""
        try:
            return read_register(trial, self.register_rows())
        except (ValueError, TypeError, KeyError, AttributeError):
            raise EvidenceError("the notary's saved register makes no sense: the database was changed") from None

    def register_rows(self) -> dict[str, Any]:
        """The saved register by key; for the notary's start, and for verify to compare."""
        with self._reading() as connection:
            rows = connection.execute(select(_REGISTER)).all()
        try:
            return {row.key: json.loads(row.value) for row in rows}
        except (ValueError, TypeError):
            raise EvidenceError("the notary's saved register cannot be read: the database was changed") from None

    def append(self, batch: Batch, register: Register) -> None:
        """Add a batch in one transaction: its entries, the tree, and what the register learned.

        If we die before the commit, nothing has happened, and the intake delivers the same messages again;
        if we die after it, the intake cursor among the register's rows says that they are dealt with.
        Raises EvidenceError when somebody else has written entries there.
        """
        rows = [
            {"idx": entry.index, "ref": ref, "entry": entry.raw}
            for entry, ref in zip(batch.entries, batch.refs, strict=True)
        ]
        saved = [
            {"key": key, "value": json.dumps(value, sort_keys=True)}
            for key, value in register_rows(register).items()
        ]
        edge = self._edge or self.subtrees.edge(batch.before.size)
        self._edge = None  # grown below; known again once that is committed
        with self.engine.begin() as connection:
            if rows:
                _insert(connection, rows)
                self.subtrees.add(connection, edge.grow(entry.leaf for entry in batch.entries))
            if saved:
                statement = upsert(_REGISTER)
                connection.execute(
                    statement.on_conflict_do_update(
                        index_elements=["key"], set_={"value": statement.excluded.value}
                    ),
                    saved,
                )
        self._edge = edge

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        """Stored rows from ``start`` to before ``stop``, read in chunks, unchecked."""
        end = self.size() if stop is None else stop
        for low in range(start, end, _CHUNK):
            with self._reading() as connection:
                rows = connection.execute(_RANGE, {"start": low, "stop": min(low + _CHUNK, end)}).all()
            for row in rows:
                yield Row(row.idx, row.ref, _as_bytes(row.idx, row.entry))

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """Entries from ``start`` to before ``stop``, parsed."""
        return (read_entry(row.raw) for row in self.rows(start, stop))

    def entry(self, index: int) -> Entry:
        """One entry.

        Raises TrailError when there is none at this index.
        """
        with self._reading() as connection:
            raw = connection.execute(_ONE, {"idx": index}).scalar()
        if raw is None:
            raise TrailError(f"there is no entry {index}; the log has {self.size()} entries")
        return read_entry(_as_bytes(index, raw))

    def by_ref(self, refs: Iterable[int]) -> dict[int, list[Entry]]:
        """Stored entries that may be about these refs (a ref is a hash; collisions are possible)."""
        found: dict[int, list[Entry]] = {}
        wanted = sorted(set(refs))
        with self._reading() as connection:
            for low in range(0, len(wanted), _CHUNK):
                for row in connection.execute(_BY_REF, {"refs": wanted[low : low + _CHUNK]}):
                    found.setdefault(row.ref, []).append(read_entry(row.entry))
        return found

    def _leaves(self, start: int, stop: int) -> list[bytes]:
        with self._reading() as connection:
            raws = connection.execute(_RAWS, {"start": start, "stop": stop}).scalars().all()
        return [leaf_hash(_as_bytes(index, raw)) for index, raw in enumerate(raws, start)]

    def _complete_subtrees(self) -> None:
        """Make full tiles that are not stored, as in a log from before they were."""
        size, stored = self.size(), self.subtrees.stored()
        while size - stored >= WIDTH:
            full = self.subtrees.edge(stored).grow(self._leaves(stored, stored + WIDTH))
            with self.engine.begin() as connection:
                self.subtrees.add(connection, full)
            stored += WIDTH

    def _reading(self) -> "_Reading":
        return _Reading(self.engine, for_evidence=self._read_only)


class _Reading:
    """A connection whose errors say what they mean for evidence."""

    def __init__(self, engine: Engine, *, for_evidence: bool) -> None:
        self._engine = engine
        self._for_evidence = for_evidence

    def __enter__(self) -> Connection:
        try:
            self._connection = self._engine.connect()
        except DatabaseError as error:
            if not self._for_evidence:
                raise
            raise EvidenceError(f"the database cannot be opened: {error.orig}") from error
        return self._connection

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._connection.close()
        # To a writer a failing database is trouble that may pass, and it tries again.
        if self._for_evidence and isinstance(error, DatabaseError):
            raise EvidenceError(f"the database cannot be read: {error.orig}") from error


class LogHistory:
    """What admission may ask, answered from the database for one batch: two queries, not one per message."""

    def __init__(self, log: Log, readings: Iterable[Reading]) -> None:
        self._log = log
        refs = {reading.digest_ref for reading in readings}
        for reading in readings:
            if reading.envelope is not None:
                refs.add(ref_of(reading.envelope.id))
                corrected = reading.envelope.data.get("corrects")
                if isinstance(corrected, str):
                    refs.add(ref_of(corrected))
        self._found: Mapping[int, list[Entry]] = log.by_ref(refs)

    def seen(self, reading: Reading) -> LogIndex | None:
        """The index of the entry that already seals this very message."""
        arrival = reading.arrival
        same = (arrival.subject, arrival.key, arrival.signature, kept_body(arrival.payload))
        for ref in (reading.id_ref, reading.digest_ref):
            for entry in self._found.get(ref, ()) if ref is not None else ():
                head = entry.header
                if (head.subject, head.key, head.signature, entry.body) == same:
                    return entry.index
        return None

    def admitted(self, source: SourceId, event_id: str) -> Entry | None:
        """See History."""
        for entry in self._found.get(ref_of(event_id), ()):
            if entry.admitted:
                envelope = read_envelope(entry.body)
                if (envelope.source, envelope.id) == (source, event_id):
                    return entry
        return None

    def at(self, index: int) -> Entry | None:
        """See History."""
        with self._log.engine.connect() as connection:
            raw = connection.execute(_ONE, {"idx": index}).scalar()
        return None if raw is None else read_entry(raw)


def _insert(connection: Connection, rows: list[dict[str, Any]]) -> None:
    try:
        connection.execute(_INSERT, rows)
    except IntegrityError:
        raise EvidenceError(
            f"entry {rows[0]['idx']} or one behind it is in the database already, and not sealed by this notary: "
            "another notary, or somebody else, writes there. Stop them, and see with `trail verify` what they wrote"
        ) from None


def _as_bytes(index: int, stored: object) -> bytes:
    if not isinstance(stored, bytes):
        raise EvidenceError(f"entry {index} is not stored as bytes: the database was changed")
    return stored
