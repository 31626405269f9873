"""``trail export bundle``: from a data directory to a file that needs nothing of ours."""

import json
from pathlib import Path

import pytest

from services.cli.beginning import begin_log
from services.cli.exporting import export_bundle
from services.cli.installation import Installation
from services.console.bundle import verify
from shared.moments import instant
from shared.policy import Policy
from shared.words import TrailError
from tests.evidence import manifest_of, unpacked


@pytest.fixture
def home(tmp_path: Path) -> Installation:
    """A data directory whose log has just been begun, and whose policy asks for no witness."""
    home = begin_log(tmp_path / "trial", clock="simulated", start=instant("2026-03-04T09:00:00Z"))
    (home.directory / "policy").write_text(Policy((home.log_key,), {}, {}).text())
    return home


def test_a_bundle_of_a_data_directory_verifies(
    home: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle.zip"
    assert export_bundle(home.directory, out) == 0
    assert verify.Check(verify.Files(out), None)()[0] == "1 entries: 1 admitted, 0 refused"
    told = " ".join(capsys.readouterr().out.split())
    assert "holds the whole log: 1 entries (1 admitted, 0 refused)" in told
    assert "No witness has to cosign under this policy" in told
    assert "python3 verify.py bundle.zip" in told


def test_a_program_is_told_what_was_written(
    home: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle.zip"
    assert export_bundle(home.directory, out, first="0", last="0", json_=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["selection"] == {"kind": "range", "of": None, "start": 0, "stop": 1}
    assert (told["size"], told["counts"]["entries"]) == (1, 1)
    assert manifest_of(unpacked(out))["selection"] == "range"


def test_where_witnesses_have_to_cosign_and_have_not_there_is_no_bundle(tmp_path: Path) -> None:
    home = begin_log(tmp_path / "trial")
    policy = home.policy()
    if policy is None or policy.quorum == "none":
        pytest.skip("a new data directory asks for no witness")
    with pytest.raises(TrailError, match="no checkpoint of this log is cosigned as the policy asks"):
        export_bundle(home.directory, tmp_path / "bundle.zip")
    assert not (tmp_path / "bundle.zip").exists()
