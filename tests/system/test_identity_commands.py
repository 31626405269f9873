"""Identities by command, on a running stack: granted, opened with a passphrase, locked, given another key."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.app import app
from services.cli.beginning import begin_log
from services.cli.installation import Installation
from services.cli.running import running_stack
from shared.words import TrailError

PHRASE = "oak ledger violet nine"
WRONG = "elm ledger violet nine"


@dataclass(frozen=True)
class Answer:
    """How a command ended, with all that it said."""

    returncode: int
    stdout: str
    stderr: str


def trail(*arguments: str | Path) -> Answer:
    """Run a command in this process: each process of its own would spend seconds on imports."""
    result = CliRunner().invoke(app, [str(one) for one in arguments], input="")
    if isinstance(result.exception, TrailError):
        return Answer(2, result.stdout, result.stderr + str(result.exception))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Answer(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Installation]:
    home = begin_log(tmp_path / "trial")
    with running_stack(home):
        yield home


def said(tmp_path: Path, text: str) -> Path:
    path = tmp_path / f"{text[:3]}.txt"
    path.write_text(text + "\n")
    return path


def flat(text: str) -> str:
    return " ".join(text.split())


def listed(home: Installation) -> dict[str, dict[str, object]]:
    shown = trail("identity", "list", "--json", "--data", home.directory)
    return {str(one["user"] or one["source"]): one for one in json.loads(shown.stdout)}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_person_is_granted_opens_the_key_is_locked_out_and_comes_back(home: Installation, tmp_path: Path) -> None:
    data, phrase, wrong = ["--data", home.directory], said(tmp_path, PHRASE), said(tmp_path, WRONG)
    for user, name, role in (("li.wei", "Li Wei", "investigator"), ("wang.f", "Wang Fang", "coordinator")):
        new = ["--name", name, "--role", role, "--site", "701", "--new-passphrase-file", phrase]
        answer = trail("identity", "grant", user, *new, *data)
        assert answer.returncode == 0, answer.stderr
    answer = trail("identity", "grant", "li.wei", "--name", "X", "--role", "monitor", *data)
    assert answer.returncode == 2
    assert "the user id li.wei was given before" in answer.stderr
    on = ["--task", "data_entry", "--course", "GCP", "--on", "2026-03-01"]
    assert trail("identity", "train", "wang.f", *on, *data).returncode == 0
    by = ["--by", "li.wei", "--passphrase-file"]
    task = ["--task", "data_entry", "--site", "701"]
    assert trail("identity", "delegate", "wang.f", *task, *by, phrase, *data).returncode == 0
    assert listed(home)["wang.f"]["may_do"]
    answer = trail("identity", "delegate", "wang.f", "--task", "safety", "--site", "701", *by, phrase, *data)
    assert answer.returncode == 1
    assert "refused: wang.f is not trained for safety" in answer.stderr

    known = {"source": "site/701", "type": "screening.registered", "subject": "701-001"}
    seen = {"source": "site/wang-f", "type": "screening.observed", "subject": "701-001"}
    weight = {"item": "weight", "value": 70, "unit": "kg", "collected": "2026-03-03"}
    posts = [known | {"data": {"sex": "female", "birth_date": "1961"}}, seen | {"data": weight}]
    drafts = tmp_path / "weighed.ndjson"
    drafts.write_text("".join(json.dumps(one | {"time": "2026-03-04T09:00:00Z"}) + "\n" for one in posts))
    answer = trail("submit", drafts, "--wait", "--by", "wang.f", "--passphrase-file", phrase, *data)
    assert (answer.returncode, "2 admitted" in answer.stdout) == (0, True), answer.stderr

    for left in (4, 3, 2, 1):
        answer = trail("identity", "delegate", "wang.f", *task, *by, wrong, *data)
        assert answer.returncode == 2
        assert f"{left} more may fail before the key is locked" in answer.stderr
        assert "ALARM" in answer.stderr
    assert "the key is locked now" in trail("identity", "delegate", "wang.f", *task, *by, wrong, *data).stderr
    assert "is locked" in trail("identity", "delegate", "wang.f", *task, *by, phrase, *data).stderr
    assert "suspended by entry" in str(listed(home)["li.wei"]["standing"]), "the log itself refuses the key now"

    key_file = home.directory / "keys" / "li.wei.key"
    assert trail("key", "unlock", key_file).returncode == 0
    answer = trail("identity", "delegate", "wang.f", *task, *by, phrase, *data)
    assert "is suspended since entry" in answer.stderr, "an administrator has to say so in the log as well"
    assert trail("identity", "reinstate", "li.wei", "--why", "it was her", *data).returncode == 0
    assert trail("identity", "delegate", "wang.f", *task, *by, phrase, *data).returncode == 0

    replaced(home, tmp_path)
    wrong_now = trail("identity", "delegate", "wang.f", *task, *by, phrase, *data)
    assert wrong_now.returncode == 2, "the old passphrase belongs to the old key"
    new_phrase = tmp_path / "bir.txt"
    assert trail("identity", "delegate", "wang.f", *task, *by, new_phrase, *data).returncode == 0
    assert trail("verify", home.directory).returncode == 0
    assert trail("replay", "--check", *data).returncode == 0


def replaced(home: Installation, tmp_path: Path) -> None:
    """The root gives her another key, and an administrator confirms it."""
    data = ["--data", home.directory]
    again = ["--why", "yearly", "--new-passphrase-file", said(tmp_path, "birch window quiet 48"), *data]
    office_phrase = said(tmp_path, "marble kettle forty 9 lanes")
    office = ["--name", "Trial office", "--role", "administrator", "--new-passphrase-file", office_phrase]
    assert trail("identity", "grant", "office", *office, *data).returncode == 0
    answer = trail("identity", "replace-key", "li.wei", *again)
    assert (answer.returncode, "The key waits until somebody else has made sure" in flat(answer.stderr)) == (
        0,
        True,
    )
    assert listed(home)["li.wei"]["standing"].endswith("to be confirmed by somebody else")
    confirmed = ("identity", "reinstate", "li.wei", "--why", "she showed her passport", *data)
    assert "somebody else must confirm that" in flat(trail(*confirmed).stderr), "the root gave it"
    assert trail(*confirmed, "--by", "office", "--passphrase-file", office_phrase).returncode == 0
