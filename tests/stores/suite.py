"""What a log's stores promise; each database's own tests inherit it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from services.audit.checkpoints import Checkpoints
from services.audit.cosignatures import Cosignatures
from services.audit.hashes import verify_hashes
from services.audit.leases import LeaseError
from services.audit.log import Log
from services.audit.log_tables import REGISTER
from services.audit.places import Places
from services.audit.timestamps import Timestamp, Timestamps
from services.screening.decide import ScreeningDecider
from shared.checkpoint import open_checkpoint
from shared.database import Place, upsert
from shared.decider import DeciderStore
from shared.note import NoteKey
from shared.receipt import open_receipt
from shared.words import EvidenceError, LogIndex
from tests.notary import LOG_KEY, OBSERVED, PERSON, SITE, TRIAL, Office, seeded_key


class StoresSuite:
    """For a database with fixtures ``places`` (the notary's), ``reading`` (a reader's) and ``decider_place``."""

    @pytest.fixture
    def office(self, places: Places, tmp_path: Path) -> Iterator[Office]:
        office = Office.founded(tmp_path, places=places)
        office.register()
        yield office
        assert office.verify().faults == []
        office.notary.close()

    def test_what_is_sealed_is_read_back_byte_for_byte_by_whoever_may_read(
        self, office: Office, reading: Places
    ) -> None:
        sealed = [office.post("screening.observed", OBSERVED, subject=PERSON) for _ in range(3)]
        log = Log.at(reading.log, read_only=True)
        assert [log.entry(entry.index).raw for entry in sealed] == [entry.raw for entry in sealed]
        assert list(log.entries(sealed[0].index)) == sealed
        assert log.size() == office.notary.size
        assert log.tail().leaf == sealed[-1].leaf
        assert log.register_rows() == office.notary.log.register_rows()
        log.close()

    def test_every_byte_of_an_event_is_kept_whatever_it_is(self, office: Office) -> None:
        for body in (b"\x00\xff\x80not JSON", b"", "\u2028 \U0001f9ec".encode(), bytes(range(256))):
            entry = office.send(body)
            assert not entry.admitted
            assert office.notary.log.entry(entry.index).body == body

    def test_a_message_that_comes_again_is_found_and_sealed_once(self, office: Office) -> None:
        arrival = office.arrival(office.event("screening.observed", OBSERVED, subject=PERSON))
        (first,) = office.seal([arrival]).entries
        again = replace(arrival, intake=arrival.intake + 1)
        sealed = office.seal([again, again])
        assert sealed.entries == []
        assert {open_receipt(text_, arrival.payload, LOG_KEY).entry for _, text_ in sealed.receipts} == {first}

    def test_a_notary_goes_on_where_it_stopped(self, office: Office) -> None:
        before, note = office.notary.size, office.notary.checkpoints.latest()
        office.reopen()
        assert (office.notary.size, office.notary.checkpoints.latest()) == (before, note)
        assert office.post("screening.observed", OBSERVED, subject=PERSON).admitted

    def test_a_batch_that_is_not_allowed_leaves_nothing(
        self, office: Office, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        size, rows = office.notary.size, office.notary.log.register_rows()
        arrival = office.arrival(office.event("screening.observed", OBSERVED, subject=PERSON))

        def refuse(_connection: object) -> None:
            raise LeaseError("not any more")

        with monkeypatch.context() as patch:
            patch.setattr(office.notary.lease, "check", refuse)
            with pytest.raises(LeaseError):
                office.seal([arrival])
        assert (office.notary.log.size(), office.notary.log.register_rows()) == (size, rows)
        assert office.seal([arrival]).entries[0].admitted, "and goes in when it is"

    def test_proofs_over_full_tiles_hold(self, office: Office) -> None:
        for batch in range(3):
            office.seal([office.arrival(b"%d of %d" % (number, batch)) for number in range(200)])
        log, checkpoint = office.notary.log, office.notary.checkpoints.latest()
        assert checkpoint is not None
        assert log.subtrees.stored() == 512
        assert log.tree(checkpoint[0]).root() == open_checkpoint(checkpoint[1], LOG_KEY).root
        receipts = office.notary.receipts_of([LogIndex(0), LogIndex(255), LogIndex(256), LogIndex(600)])
        for index, receipt in receipts.items():
            assert open_receipt(receipt, log.entry(index).body, LOG_KEY).entry == log.entry(index)
        signed = {size: open_checkpoint(note, LOG_KEY).root for _, size, note in office.notary.checkpoints.all()}
        report = verify_hashes(self.log_place(office), signed)
        assert (report.fault, report.verified.tree.size) == (None, office.notary.size)

    def test_the_database_itself_refuses_to_change_what_was_added(self, office: Office) -> None:
        office.seal([office.arrival(b"%d" % number) for number in range(256)])
        Cosignatures(office.notary.checkpoints.engine).add(1, LOG_KEY, 1, "a line")
        for engine, tables in (
            (office.notary.log.engine, ("entries", "subtrees")),
            (office.notary.checkpoints.engine, ("checkpoints", "cosignatures")),
        ):
            for table in tables:
                for statement in self.changes(table):
                    with pytest.raises(DBAPIError), engine.begin() as connection:
                        connection.execute(text(statement))

    @pytest.mark.usefixtures("office")
    def test_whoever_reads_cannot_write(self, reading: Places) -> None:
        log, kept = Log.at(reading.log, read_only=True), Checkpoints.at(reading.checkpoints, read_only=True)
        for engine, table in ((log.engine, "entries"), (kept.engine, "checkpoints")):
            with pytest.raises(DBAPIError), engine.begin() as connection:
                connection.execute(text(f"INSERT INTO {table} SELECT * FROM {table}"))
        log.close()
        kept.close()

    def test_one_notary_writes_at_a_time(self, office: Office) -> None:
        with pytest.raises(LeaseError, match="another notary"):
            office.open()

    def test_of_two_checkpoints_that_follow_the_same_one_fails(self, office: Office) -> None:
        signed, _ = office.notary.checkpoints.latest() or (0, "")
        office.notary.checkpoints.add(signed, signed + 7, "a forged note")
        with pytest.raises(EvidenceError, match="was already signed"):
            office.post("screening.observed", OBSERVED, subject=PERSON)
        assert office.places is not None
        self.take_away(office.places, "checkpoints", signed + 7)
        office.reopen()

    def test_what_outsiders_gave_is_kept_once_and_read_in_order(self, office: Office) -> None:
        engine = office.notary.checkpoints.engine
        kept, witness = Cosignatures(engine), NoteKey("witness.example", seeded_key("witness").public)
        for size, line in ((2, "two"), (1, "one"), (2, "two again")):
            kept.add(size, witness, 1_700_000_000 + size, line)
        assert kept.all() == {1: ["one"], 2: ["two"]}
        assert kept.last(witness) == 2
        stamps = Timestamps(engine)
        one = Timestamp("authority", 2, "text", "2026-03-04T01:00:00.000000Z", b"\x30\x00\xff")
        stamps.add(one)
        assert stamps.all() == [one]

    def test_a_decider_goes_on_where_it_stopped_and_keeps_all_or_nothing(
        self, office: Office, decider_place: Place
    ) -> None:
        decider = ScreeningDecider()
        store = DeciderStore.at(decider_place, decider, TRIAL)
        machine, seals = store.load(LOG_KEY)
        decided: list[bytes] = []
        notes = {size: note for _, size, note in office.notary.checkpoints.all()}
        for entry in office.entries():
            for sealed in seals.add(entry, notes.get(entry.index + 1)):
                first = machine.sequence + 1
                events = list(enumerate(machine.feed(sealed), first))
                decided += [payload for _, payload in events]
                store.commit(machine, seals, events, seeded_key("screening"))
        state, sequence, tree = dict(machine.state), machine.sequence, seals.tree
        assert tree.size == office.notary.size
        assert [one.payload for one in store.outbox.waiting(100)] == decided
        store.close()
        store = DeciderStore.at(decider_place, decider, TRIAL)
        again, seen = store.load(LOG_KEY)
        assert (dict(again.state), again.sequence, seen.tree) == (state, sequence, tree)
        with pytest.raises(DBAPIError):  # the same decisions once more: nothing of it is kept
            store.commit(again, seen, [(1, self.payload(office)), (1, self.payload(office))], SITE)
        assert [one.payload for one in store.outbox.waiting(100)] == decided
        store.close()

    def test_a_document_that_is_put_again_replaces_all_of_it(self, office: Office) -> None:
        log = office.notary.log
        with log.engine.begin() as connection:
            for value in ('"one"', '"two"'):
                connection.execute(upsert(log.engine, REGISTER, "key"), [{"key": "try", "value": value}])
            found = connection.execute(text("SELECT value FROM register WHERE key = 'try'")).scalars().all()
            assert found == ['"two"']
            connection.rollback()

    def payload(self, office: Office) -> bytes:
        return office.event("screening.observed", OBSERVED, subject=PERSON)

    def log_place(self, office: Office) -> Place:
        assert office.places is not None
        return office.places.log

    def changes(self, table: str) -> list[str]:
        """What this database could be asked to do to a table."""
        column = {"entries": "ref", "subtrees": "n", "checkpoints": "size", "cosignatures": "size"}[table]
        return [f"DELETE FROM {table}", f"UPDATE {table} SET {column} = {column}"]

    def take_away(self, places: Places, table: str, size: int) -> None:
        """As the owner of the database, who may do anything."""
        raise NotImplementedError
