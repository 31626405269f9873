"""A receipt can be taken away and checked with the log's key alone, or with a policy; a wrong one is told."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.app import app
from services.cli.beginning import begin_log
from services.cli.installation import Installation
from services.cli.receipts import save, verify
from shared.note import NoteKey
from shared.words import EvidenceError, TrailError
from tests.notary import STRANGER


@pytest.fixture
def home(tmp_path: Path) -> Installation:
    """A new log: its genesis has its receipt already."""
    home = begin_log(tmp_path / "trial")
    assert save(home.directory, "admin/root", 1, tmp_path / "taken") == 0
    return home


@pytest.fixture
def proof(home: Installation, tmp_path: Path) -> Path:
    return tmp_path / "taken" / "admin-root-1.tlog-proof"


def check(proof: Path, *, event: Path | None = None, key: str | None = None, policy: Path | None = None) -> int:
    return verify(proof, event, proof.parent / "nowhere", key, policy, json_=False)


def test_a_receipt_holds_against_the_logs_key_without_its_data(
    home: Installation, proof: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(proof, key=home.log_key.vkey()) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "is entry 0 of the log. It was admitted" in told


def test_the_command_speaks_json_and_uses_the_data_directorys_key(home: Installation, proof: Path) -> None:
    done = CliRunner().invoke(app, ["receipt", "verify", str(proof), "--data", str(home.directory), "--json"])
    assert done.exit_code == 0
    assert '"verdict": "admitted"' in done.stdout


def test_a_policy_without_witnesses_is_enough_and_one_with_a_quorum_is_not(
    home: Installation, proof: Path, tmp_path: Path
) -> None:
    policy = tmp_path / "policy"
    policy.write_text(f"log {home.log_key.vkey()}\nquorum none\n", "utf-8")
    assert check(proof, policy=policy) == 0
    witness = NoteKey("witness.example", STRANGER.public, 4).vkey()
    policy.write_text(f"log {home.log_key.vkey()}\nwitness w {witness}\nquorum w\n", "utf-8")
    with pytest.raises(EvidenceError, match="cosigned by nobody; the quorum is w"):
        check(proof, policy=policy)


@pytest.mark.parametrize("at", range(0, 900, 61))
def test_a_receipt_with_one_changed_character_is_refused(home: Installation, proof: Path, at: int) -> None:
    text = proof.read_text("utf-8")
    at %= len(text) - 1
    changed = "x" if text[at] != "x" else "y"
    proof.write_text(text[:at] + changed + text[at + 1 :], "utf-8")
    with pytest.raises(EvidenceError):
        check(proof, key=home.log_key.vkey())


def test_another_events_bytes_or_another_logs_key_are_refused(
    home: Installation, proof: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.json"
    other.write_bytes(proof.with_suffix(".json").read_bytes().replace(b"simulated", b"system", 1) + b" ")
    with pytest.raises(EvidenceError, match="does not prove that this event is in the log"):
        check(proof, event=other, key=home.log_key.vkey())
    with pytest.raises(EvidenceError, match="not signed by"):
        check(proof, key=NoteKey(home.log_key.name, STRANGER.public).vkey())


@pytest.mark.parametrize("junk", [b"", b"\xff\xfe", b"c2sp.org/tlog-proof@v1\n", b"extra\n\n\n"])
def test_what_is_no_receipt_is_told(home: Installation, proof: Path, junk: bytes) -> None:
    proof.write_bytes(junk)
    with pytest.raises(EvidenceError, match="receipt"):
        check(proof, key=home.log_key.vkey())


def test_what_cannot_be_found_is_told_with_what_to_do(home: Installation, proof: Path, tmp_path: Path) -> None:
    with pytest.raises(TrailError, match="there is no outbox of site/701"):
        save(home.directory, "site/701", 1, tmp_path)
    with pytest.raises(TrailError, match="no receipt for its event 2 yet; `trail deliver`"):
        save(home.directory, "admin/root", 2, tmp_path)
    with pytest.raises(TrailError, match="name the event's own bytes with --event"):
        check(proof, event=tmp_path / "gone.json", key=home.log_key.vkey())
