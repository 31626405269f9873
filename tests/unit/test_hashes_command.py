"""Checking the hashes again costs only what is new; what is remembered must be what the log continues."""

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from services.cli.hashing import verify_hashes_only
from services.cli.installation import Installation
from services.cli.output import GOOD, WRONG
from shared.words import EvidenceError, TrailError
from tests.notary import LOG_KEY, START, TRIAL, Office
from tests.owner import drop_guards


@pytest.fixture
def office(tmp_path: Path) -> Office:
    office = Office.founded(tmp_path, clock="simulated", tick_seconds=60)
    office.move_clock(START + timedelta(minutes=600))
    Installation(tmp_path, TRIAL, LOG_KEY, "simulated").write()
    return office


def check(office: Office, capsys: pytest.CaptureFixture[str], key: str | None = None) -> tuple[int, str]:
    code = verify_hashes_only(office.directory, key, office.directory / "mine.json", json_=False)
    told = capsys.readouterr()
    return code, " ".join((told.out + told.err).split())


def test_a_second_run_goes_on_from_the_first(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = check(office, capsys)
    assert (code, f"signed root of {office.notary.size} entries." in told, "verified before" in told) == (
        GOOD,
        True,
        False,
    )
    before = office.notary.size
    office.move_clock(START + timedelta(minutes=1200))
    office.notary.close()
    code, told = check(office, capsys, LOG_KEY.vkey())
    assert (code, f"{before} of them were verified before" in told) == (GOOD, True)


def test_a_change_before_and_one_behind_what_is_remembered(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was verified before is not looked at again; what comes behind must continue it."""
    check(office, capsys)
    office.move_clock(START + timedelta(minutes=700))
    size = office.notary.size
    office.notary.close()
    path = office.directory / "audit" / "log.sqlite"
    drop_guards(path)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE entries SET entry = entry || 'x' WHERE idx = ?", (size - 3,))
    code, told = check(office, capsys)
    assert (code, f"entry {size - 3}:" in told) == (WRONG, True)


def test_another_log_than_the_one_remembered_is_told(
    office: Office, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(office, capsys)
    office.notary.close()
    other = Office.founded(tmp_path / "other", clock="simulated", tick_seconds=60)
    other.move_clock(START + timedelta(minutes=700))
    other.notary.close()
    for part in ("audit/log.sqlite", "checkpoints/checkpoints.sqlite"):
        (tmp_path / part).write_bytes((tmp_path / "other" / part).read_bytes())
    code, told = check(office, capsys)
    assert code == WRONG, told


@pytest.mark.parametrize("junk", ["", "{}", '{"size": 3, "peaks": "00", "leaf": ""}', "[]", '{"size": -1}'])
def test_a_memory_that_is_none_is_told_with_what_to_do(office: Office, junk: str) -> None:
    office.notary.close()
    (office.directory / "mine.json").write_text(junk, "utf-8")
    with pytest.raises((TrailError, EvidenceError), match="remove it to begin anew"):
        verify_hashes_only(office.directory, None, office.directory / "mine.json", json_=False)
