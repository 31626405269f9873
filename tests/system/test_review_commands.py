"""The audit trail reviewed by command, on a running stack: asked, answered, closed, reviewed and signed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.beginning import begin_log
from services.cli.installation import Installation
from services.cli.running import running_stack
from tests.system.test_identity_commands import PHRASE, said, trail

SITE = "site/701"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Installation]:
    home = begin_log(tmp_path / "trial")
    with running_stack(home):
        yield home


def draft(type_: str, **data: object) -> dict[str, object]:
    time = "2026-03-04T09:00:00+08:00"
    return {"source": SITE, "type": type_, "subject": "701-001", "time": time, "data": data}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.part11("E6(R3) 4.2.3")
def test_a_monitor_asks_a_site_answers_and_the_review_is_signed(home: Installation, tmp_path: Path) -> None:
    data, phrase = ["--data", home.directory], said(tmp_path, PHRASE)
    drafts = tmp_path / "events.ndjson"
    posts = [
        draft("screening.registered", sex="female", birth_date="1961-05-06"),
        draft("screening.observed", item="weight", value=70, unit="kg", collected="2026-03-03"),
    ]
    drafts.write_text("".join(json.dumps(one) + "\n" for one in posts))
    assert trail("submit", drafts, "--wait", *data).returncode == 0
    new = ["--name", "Cho Min", "--role", "monitor", "--site", "701", "--new-passphrase-file", phrase]
    assert trail("identity", "grant", "cho.m", *new, *data).returncode == 0
    shown = json.loads(trail("review", "show", "--json", *data).stdout)
    late = [one for one in shown["unreviewed"] if "days before it was sealed" in one["why"]]
    assert [one["subject"] for one in late] == ["701-001", "701-001"]
    weight = str(late[1]["index"])

    me = ["--by", "cho.m", "--passphrase-file", phrase, *data]
    assert trail("review", "ask", weight, "--text", "Why so late?", *me).returncode == 0
    query = f"Q{weight}"
    assert trail("review", "answer", query, "--text", "The line was down.", *data).returncode == 0
    assert "answered by site/701" in trail("review", "show", "--participant", "701-001", *data).stdout
    assert trail("review", "close", query, "--text", "Thank you.", *me).returncode == 0
    assert trail("review", "close", query, "--text", "Again.", *me).returncode == 1

    answer = trail(
        "review", "record", "--participant", "701-001", "--found", "All explained.", "--query", query, *me
    )
    assert answer.returncode == 0, answer.stderr
    assert "Cho Min" in answer.stdout
    left = json.loads(trail("review", "show", "--participant", "701-001", "--json", *data).stdout)
    assert (left["unreviewed"], [one["standing"] for one in left["queries"]]) == ([], ["closed"])
    assert left["reviews"][0]["found"] == "All explained."
    assert trail("verify", home.directory).returncode == 0
