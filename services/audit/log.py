"""The log's own database: entries that are only ever added, and what the notary needs to go on after a stop."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Engine, bindparam, func, insert, select, text
from sqlalchemy.exc import DatabaseError, DBAPIError, IntegrityError

from services.audit.admission import Reading, kept_body, ref_of
from services.audit.log_tables import ENTRIES, LOG_STORE, PART, REGISTER, SUBTREES
from services.audit.register import Register
from services.audit.register_rows import read_register, register_rows
from services.audit.sealing import Batch, Tail
from services.audit.subtrees import Subtrees
from services.audit.tiles import WIDTH, Edge
from shared.database import Place, engine_at, is_postgresql, is_there, upsert
from shared.entry import NO_LEAF, Entry, leaf_hash, read_entry
from shared.envelope import read_envelope
from shared.merkle import Tree
from shared.migrations import open_for_writing
from shared.words import EvidenceError, LogIndex, SourceId, TrailError

# One statement text each, so that SQLAlchemy compiles it once.
_INSERT: Final = insert(ENTRIES)
_BY_REF: Final = select(ENTRIES.c.ref, ENTRIES.c.idx, ENTRIES.c.entry).where(
    ENTRIES.c.ref.in_(bindparam("refs", expanding=True))
)
_ONE: Final = select(ENTRIES.c.entry).where(ENTRIES.c.idx == bindparam("idx"))
_RAWS: Final = (
    select(ENTRIES.c.entry)
    .where(ENTRIES.c.idx >= bindparam("start"), ENTRIES.c.idx < bindparam("stop"))
    .order_by(ENTRIES.c.idx)
)
_RANGE: Final = (
    select(ENTRIES.c.idx, ENTRIES.c.ref, ENTRIES.c.entry)
    .where(ENTRIES.c.idx >= bindparam("start"), ENTRIES.c.idx < bindparam("stop"))
    .order_by(ENTRIES.c.idx)
)
_COPY: Final = "COPY entries (idx, ref, entry) FROM STDIN (FORMAT BINARY)"
_EXTEND: Final = text("SELECT extend_entries(:upto)")
_AHEAD: Final = PART // 4
_LAST: Final = select(ENTRIES.c.idx, ENTRIES.c.entry).order_by(ENTRIES.c.idx.desc()).limit(1)
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
        self.subtrees = Subtrees(SUBTREES, self._reading, self._leaves)
        self._edge: Edge | None = None
        self._room = 0  # PostgreSQL has partitions for so many entries
        self._put_register = upsert(engine, REGISTER, "key")

    @classmethod
    def at(cls, place: Place, *, read_only: bool = False) -> "Log":
        """Open the log; a file is made if it is not there (unless read only).

        Raises TrailError when there is nothing to read.
        """
        if not read_only:
            log = cls(open_for_writing(place, LOG_STORE))
            log._complete_subtrees()
            return log
        if not is_there(place, ENTRIES):
            raise TrailError(f"there is no log at {place}; give the data directory with --data")
        return cls(engine_at(place, read_only=True), read_only=True)

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    def size(self) -> int:
        """The number of entries: one more than the highest index.

        Raises EvidenceError when the file is no longer a readable database.
        """
        with self._reading() as connection:
            highest = connection.execute(select(func.max(ENTRIES.c.idx))).scalar()
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
            rows = connection.execute(select(REGISTER)).all()
        try:
            return {row.key: json.loads(row.value) for row in rows}
        except (ValueError, TypeError):
            raise EvidenceError("the notary's saved register cannot be read: the database was changed") from None

    def append(
        self, batch: Batch, register: Register, allowed: Callable[[Connection], None] = lambda _connection: None
    ) -> None:
        """Add a batch in one transaction: its entries, the tree, and what the register learned.

        If we die before the commit, nothing has happened, and the intake delivers the same messages again;
        if we die after it, the intake cursor among the register's rows says that they are dealt with.
        ``allowed`` is asked first, in that transaction, and raises when this notary may no longer write. Raises
        EvidenceError when somebody else has written entries there.
        """
        rows = [(entry.index, ref, entry.raw) for entry, ref in zip(batch.entries, batch.refs, strict=True)]
        saved = [
            {"key": key, "value": json.dumps(value, sort_keys=True)}
            for key, value in register_rows(register).items()
        ]
        edge = self._edge or self.subtrees.edge(batch.before.size)
        self._edge = None  # grown below; known again once that is committed
        self._make_room(batch.before.size + len(rows))
        with self.engine.begin() as connection:
            allowed(connection)
            if rows:
                _add(connection, rows)
                self.subtrees.add(connection, edge.grow(entry.leaf for entry in batch.entries))
            if saved:
                connection.execute(self._put_register, saved)
        self._edge = edge

    def check_end(self, connection: Connection, tail: Tail) -> None:
        """Raise EvidenceError unless the log ends with this; a file that is put back is noticed as such."""
        row = connection.execute(_LAST).one_or_none()
        size, leaf = (0, NO_LEAF) if row is None else (row.idx + 1, leaf_hash(_as_bytes(row.idx, row.entry)))
        if (size, leaf) != (tail.tree.size, tail.leaf):
            raise EvidenceError(
                f"the database holds {size} entries, and this notary has sealed {tail.tree.size} that end with "
                "another: somebody else writes there, or a back-up was put back. Stop everything, and see with "
                "`trail verify`"
            )

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

    def _make_room(self, size: int) -> None:
        """Have PostgreSQL's owner make partitions ahead of what is added."""
        if is_postgresql(self.engine) and size + _AHEAD > self._room:
            with self.engine.begin() as connection:
                self._room = connection.execute(_EXTEND, {"upto": size + _AHEAD}).scalar_one()

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


def _add(connection: Connection, rows: Sequence[tuple[int, int, bytes]]) -> None:
    try:
        if is_postgresql(connection.engine):
            _copy(connection, rows)
        else:
            named = [{"idx": idx, "ref": ref, "entry": raw} for idx, ref, raw in rows]
            connection.execute(_INSERT, named)
    except IntegrityError:
        raise EvidenceError(
            f"entry {rows[0][0]} or one behind it is in the database already, and not sealed by this notary: "
            "another notary, or somebody else, writes there. Stop them, and see with `trail verify` what they wrote"
        ) from None


def _copy(connection: Connection, rows: Sequence[tuple[int, int, bytes]]) -> None:
    """PostgreSQL's way to take many rows, twice as fast as statements; its errors become SQLAlchemy's."""
    driver: Any = connection.connection.dbapi_connection
    try:
        with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.set_types(["int8", "int8", "bytea"])
            for row in rows:
                copy.write_row(row)
    except connection.dialect.loaded_dbapi.Error as error:
        raise DBAPIError.instance(
            _COPY, None, error, connection.dialect.loaded_dbapi.Error, dialect=connection.dialect
        ) from error


def _as_bytes(index: int, stored: object) -> bytes:
    if not isinstance(stored, bytes):
        raise EvidenceError(f"entry {index} is not stored as bytes: the database was changed")
    return stored
