"""What lies beside a log is not believed over what its reader brings, and what was cut off is missed."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from services.audit.cosignatures import Cosignatures
from services.cli.beginning import begin_log
from services.cli.checking import verify_directory
from services.cli.installation import Installation
from services.cli.output import GOOD, WRONG
from services.cli.reading import reading, verify
from shared.checkpoint import cosign, open_cosignature
from shared.note import COSIGNATURE, NoteKey
from shared.policy import Policy, Witness
from shared.signing import Keyring
from shared.words import EvidenceError
from tests.notary import LOG, LOG_KEY, ROOT, START, STRANGER, TRIAL, Office, seeded_key, text_key

WITNESS = seeded_key("witness")
WITNESS_KEY = NoteKey("witness.example/w", WITNESS.public, COSIGNATURE)


def policy(*logs: NoteKey) -> Policy:
    return Policy(logs, {"w": Witness("w", WITNESS_KEY)}, {}, "w")


def cosigned(office: Office) -> None:
    """The witness cosigns the newest checkpoint, now."""
    store, (size, note) = office.notary.checkpoints, office.notary.checkpoints.latest() or (0, "")
    time = int(START.timestamp())
    line = cosign(note.partition("\n\n")[0] + "\n", WITNESS_KEY.name, WITNESS, time)
    assert open_cosignature(note + line, WITNESS_KEY) is not None
    Cosignatures(store.engine).add(size, WITNESS_KEY, time, line)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    office = Office.founded(tmp_path / "trial", clock="simulated", tick_seconds=60)
    home = Installation(tmp_path / "trial", TRIAL, LOG_KEY, "simulated")
    home.write()
    home.policy_path.write_text(policy(LOG_KEY).text(), "utf-8")
    return office


def run(office: Office, text: str, tmp_path: Path) -> int:
    (tmp_path / "mine").write_text(text, "utf-8")
    return verify_directory(office.directory, policy=tmp_path / "mine")


def test_a_policy_that_names_this_logs_key_and_a_quorum_that_cosigned_it_is_enough(
    office: Office, tmp_path: Path
) -> None:
    cosigned(office)
    office.notary.close()
    assert run(office, policy(LOG_KEY).text(), tmp_path) == GOOD


@pytest.mark.parametrize(
    "log", [NoteKey("trialtrail.example/another", LOG.public), None], ids=["another log", "no log at all"]
)
def test_a_policy_of_another_log_verifies_nothing_here(office: Office, tmp_path: Path, log: NoteKey | None) -> None:
    """The key that lies in trial.json must not step in for the one that the reader's policy lacks."""
    cosigned(office)
    office.notary.close()
    with pytest.raises(EvidenceError, match="this is another log than the policy's"):
        run(office, policy(*([log] if log else [])).text(), tmp_path)


def test_a_log_that_stayed_with_a_stolen_key_fails_a_policy_that_knows_the_next(
    office: Office, tmp_path: Path
) -> None:
    cosigned(office)
    office.notary.close()
    both = policy(LOG_KEY, NoteKey(LOG_KEY.name, STRANGER.public)).text()
    assert run(office, both, tmp_path) == WRONG


def test_a_database_cut_back_to_what_is_cosigned_is_missed_by_its_later_checkpoints(office: Office) -> None:
    """A back-up of the database alone, taken when the witness had cosigned all there was."""
    cosigned(office)
    office.notary.close()
    shutil.copytree(office.directory / "audit", office.directory.parent / "older")
    office.notary = office.open()
    size = office.notary.size
    office.register()
    office.notary.close()
    shutil.rmtree(office.directory / "audit")
    shutil.move(office.directory.parent / "older", office.directory / "audit")
    with reading(Installation.open(office.directory)) as source:
        (fault,) = verify(source).faults
    assert f"entry {size} is missing: a checkpoint over {size + 1} entries was signed" in fault.what


def test_a_log_and_checkpoints_cut_back_together_are_missed_by_a_kept_cosignature(office: Office) -> None:
    office.move_clock(START + timedelta(minutes=5))
    cosigned(office)
    size = office.notary.size
    office.notary.close()
    with reading(Installation.open(office.directory)) as source:
        lines = source.cosignatures.all()[size]
    shutil.rmtree(office.directory / "audit")
    shutil.rmtree(office.directory / "checkpoints")
    shorter = Office.founded(office.directory, clock="simulated", tick_seconds=60)
    cosigned(shorter)
    Cosignatures(shorter.notary.checkpoints.engine).add(size, WITNESS_KEY, int(START.timestamp()), lines[0])
    shorter.notary.close()
    with reading(Installation.open(office.directory)) as source:
        told = [fault.what for fault in verify(source).faults]
    assert any(f"a checkpoint over {size} entries was cosigned, and it is missing" in what for what in told)


def test_a_rotated_key_is_taken_out_of_the_policy_and_forgotten_by_the_witness_here(tmp_path: Path) -> None:
    """A stolen key must not get a cosignature for a tree of the thief's own."""
    home = begin_log(tmp_path / "trial")
    rotated = home.rotated(1, NoteKey(home.log_key.name, STRANGER.public))
    own = rotated.policy()
    assert own is not None
    assert own.logs == (rotated.log.current,)
    from services.witness.witness import Witness as Running

    witness = Running.at(home.witness_path)
    assert witness.logs == {home.log_key.name: (rotated.log.current,)}
    witness.close()


def test_half_a_key_file_is_in_nobodys_way(office: Office) -> None:
    """What a kill in the middle of writing a key could leave."""
    keys = office.directory / "keys"
    LOG.save(keys / "log.pem")
    STRANGER.save(keys / "log-b.pem")
    (keys / "log-a.pem").touch()
    office.notary.close()
    office.keyring = Keyring.at(keys / "log.pem")
    office.notary = office.open()
    entry = office.post("log.key_rotated", {"public_key": text_key(STRANGER), "why": "stolen"}, key=ROOT)
    assert entry.admitted
    assert [path.name for path in keys.iterdir() if path.name.startswith(".")] == []
    office.notary.close()
