"""A log whose database is lost is made again from what is published of it, byte for byte, or not at all."""

import shutil
from pathlib import Path

import pytest

from services.audit.checkpoints import Checkpoints
from services.audit.cosignatures import Cosignatures
from services.audit.hashes import verify_hashes
from services.audit.log import Log
from services.audit.places import Places
from services.audit.publishing import Publisher
from services.audit.rebuilding import PublishedLog, rebuild
from services.audit.tile_store import store_at
from shared.checkpoint import cosign, open_checkpoint
from shared.note import COSIGNATURE, NoteKey, split_note
from shared.policy import Policy
from shared.policy import Witness as WitnessOf
from shared.receipt import open_receipt
from shared.words import EvidenceError, LogIndex, TrailError
from tests.notary import LOG_KEY, OBSERVED, PERSON, ROOT, TRIAL, Office, seeded_key

WITNESS = NoteKey("witness.example/one", seeded_key("witness").public, COSIGNATURE)
POLICY = Policy((LOG_KEY,), {"one": WitnessOf("one", WITNESS, "")}, {}, "one")


def cosigned(_size: int, note: str) -> str:
    return note + cosign(split_note(note)[0], WITNESS.name, seeded_key("witness"), 1_772_600_000)


@pytest.fixture
def lost(tmp_path: Path) -> Office:
    """A published log of three tiles and a bit, whose database and checkpoints are gone; what they were is kept."""
    office = Office.founded(tmp_path / "was")
    office.register()
    for batch in range(4):
        office.seal([office.arrival(b"%d of %d" % (number, batch)) for number in range(200)])
    office.post("screening.observed", OBSERVED, subject=PERSON)
    store = store_at(str(tmp_path / "tiles"))
    Publisher(store, office.notary.log, office.notary.checkpoints, lambda: LOG_KEY, cosigned).publish()
    office.notary.close()
    return office


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.in_files(tmp_path / "again" / "audit")


def published(tmp_path: Path) -> PublishedLog:
    return PublishedLog(store_at(str(tmp_path / "tiles"), read_only=True))


def test_the_log_is_the_same_again_and_goes_on(lost: Office, places: Places, tmp_path: Path) -> None:
    told: list[int] = []
    report = rebuild(published(tmp_path), places, TRIAL, LOG_KEY, POLICY, told.append)
    was, again = (
        Log.at(tmp_path / "was" / "audit" / "log.sqlite", read_only=True),
        Log.at(places.log, read_only=True),
    )
    assert report.entries == was.size() == again.size() > 800
    assert list(again.rows()) == list(was.rows()), "the entries, and the keys of their index"
    assert again.tree(was.size()).root() == was.tree(was.size()).root()
    remembered, before = again.register_rows(), was.register_rows()
    assert remembered.pop("log") | {"signed": 0} == before.pop("log") | {"signed": 0}
    assert remembered == before
    assert told == sorted(told)
    assert told[-1] == 2 * report.entries
    was.close()
    again.close()

    kept = Checkpoints.at(places.checkpoints, read_only=True)
    ((follows, size, note),) = kept.all()
    assert (follows, size) == (0, report.entries)
    assert len(split_note(note)[1]) == 1, "the log's own signature; a witness's line is kept as one"
    assert Cosignatures(kept.engine).latest(POLICY) == report.entries
    assert verify_hashes(places.log, {size: open_checkpoint(note, LOG_KEY).root}).fault is None
    kept.close()

    office = Office(tmp_path / "again")
    office.intake = office.notary.intake
    office.now = lost.now
    assert office.verify().faults == []
    entry = office.post("screening.observed", OBSERVED, subject=PERSON)
    assert (entry.admitted, entry.index) == (True, report.entries)
    receipt = office.notary.receipts_of([LogIndex(300)])[LogIndex(300)]
    assert open_receipt(receipt, office.notary.log.entry(300).body, LOG_KEY).entry.index == 300
    assert office.seal([office.arrival(b"7 of 1")]).entries == [], "what was sealed is known to be"
    assert office.verify().faults == []
    office.notary.close()


@pytest.mark.usefixtures("lost")
def test_a_damaged_or_missing_bundle_makes_nothing(places: Places, tmp_path: Path) -> None:
    bundle = tmp_path / "tiles" / "tile" / "entries" / "001"
    genuine = bundle.read_bytes()
    damaged = bytearray(genuine)
    damaged[5000] ^= 1
    for content, sentence in (
        (bytes(damaged), "nothing was made: entry "),
        (genuine[:-3], "ends in the middle of an entry"),
        (genuine[: len(genuine) // 2], "is missing or damaged|in the middle"),
        (None, "is missing or damaged: entries 256 to 511 are not there"),
    ):
        bundle.unlink(missing_ok=True)
        if content is not None:
            bundle.write_bytes(content)
        with pytest.raises(EvidenceError, match=sentence):
            rebuild(published(tmp_path), places, TRIAL, LOG_KEY, POLICY)
        assert isinstance(places.log, Path)
        assert not places.log.exists()


@pytest.mark.usefixtures("lost")
def test_what_is_changed_between_verifying_and_writing_is_not_taken_for_the_log(
    places: Places, tmp_path: Path
) -> None:
    bundle = tmp_path / "tiles" / "tile" / "entries" / "002"

    def change(done: int) -> None:
        if done == before.size:  # all is verified, and nothing written yet
            damaged = bytearray(bundle.read_bytes())
            damaged[5000] ^= 1
            bundle.write_bytes(damaged)
            before._bundle.cache_clear()

    before = published(tmp_path)
    with pytest.raises(EvidenceError, match="What is published was changed while it was read"):
        rebuild(before, places, TRIAL, LOG_KEY, POLICY, change)
    kept = Checkpoints.at(places.checkpoints, read_only=True)
    assert kept.latest() is None
    kept.close()


@pytest.mark.usefixtures("lost")
def test_what_another_key_has_signed_is_not_taken(places: Places, tmp_path: Path) -> None:
    stranger = NoteKey(LOG_KEY.name, ROOT.public)
    with pytest.raises(EvidenceError, match="nothing was made"):
        rebuild(published(tmp_path), places, TRIAL, stranger, POLICY)
    with pytest.raises(EvidenceError, match="nothing was made: entry 0"):
        rebuild(published(tmp_path), places, "OTHER", LOG_KEY, POLICY)


def test_a_log_that_is_there_is_left_alone(lost: Office, tmp_path: Path) -> None:
    there = Places.in_files(tmp_path / "was" / "audit")
    before = Log.at(there.log, read_only=True)
    with pytest.raises(TrailError, match="already; nothing was changed"):
        rebuild(published(tmp_path), there, TRIAL, LOG_KEY, POLICY)
    assert before.size() == lost.notary.size
    before.close()


def test_where_nothing_is_published_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "tiles").mkdir()
    with pytest.raises(TrailError, match="nothing is published at"):
        published(tmp_path)
    (tmp_path / "tiles" / "checkpoint").write_text("no checkpoint\n")
    with pytest.raises(EvidenceError):
        published(tmp_path)


@pytest.mark.usefixtures("lost")
def test_a_publication_that_goes_on_while_it_is_read_is_read_as_it_was(places: Places, tmp_path: Path) -> None:
    """The partial bundle that the checkpoint needs gives way to the full one."""
    partial = next((tmp_path / "tiles" / "tile" / "entries").glob("*.p"))
    before = published(tmp_path)
    shutil.copy(partial / str(before.size % 256), partial.with_name(partial.name.removesuffix(".p")))
    shutil.rmtree(partial)
    assert rebuild(before, places, TRIAL, LOG_KEY, POLICY).good
