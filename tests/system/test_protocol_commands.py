"""An amendment by command, on a running stack: sealed, signed by two persons, in force at a site from a day on."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.cli.beginning import begin_log
from services.cli.installation import Installation
from services.cli.running import running_stack
from shared.protocol.model import protocol_digest
from tests.amending import STRICTER
from tests.system.test_identity_commands import PHRASE, said, trail


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Installation]:
    home = begin_log(tmp_path / "trial")
    with running_stack(home):
        yield home


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.part11("11.10(f)", "11.10(k)(2)")
def test_an_amendment_is_sealed_signed_by_two_and_activated_by_command(home: Installation, tmp_path: Path) -> None:
    data, phrase = ["--data", home.directory], said(tmp_path, PHRASE)
    file = tmp_path / "amended.yaml"
    file.write_text(STRICTER, "utf-8")
    for user, name in (("zhao.l", "Zhao Lei"), ("sun.y", "Sun Yan")):
        new = ["--name", name, "--role", "medical_monitor", "--new-passphrase-file", phrase]
        assert trail("identity", "grant", user, *new, *data).returncode == 0
    new = ["--name", "Li Wei", "--role", "investigator", "--site", "701", "--new-passphrase-file", phrase]
    assert trail("identity", "grant", "li.wei", *new, *data).returncode == 0

    answer = trail("protocol", "amend", file, "--summary", "ECOG 0 alone", "--reconsent", *data)
    assert answer.returncode == 0, answer.stderr
    answer = trail("protocol", "amend", file, "--summary", "once more", *data)
    assert answer.returncode == 2
    assert "there is a version 1.1 already" in answer.stderr

    today = datetime.now(UTC).date()
    said_of_it = ["--site", "701", "--committee", "Ethics committee", "--reference", "EC-7"]
    said_of_it += ["--approved", str(today - timedelta(days=3)), "--effective", str(today + timedelta(days=2))]
    activate = ["protocol", "activate", "--digest", protocol_digest(STRICTER)[:10], *said_of_it]
    activate += ["--by", "li.wei", "--passphrase-file", phrase, *data]
    answer = trail(*activate)
    assert answer.returncode == 1
    assert "is signed by 0 of 2 persons: `trail sign` first" in answer.stderr
    entry = json.loads(trail("protocol", "list", "--json", *data).stdout)[-1]["entry"]
    for user in ("zhao.l", "sun.y"):
        by = ["--user", user, "--passphrase-file", phrase, "--meaning", "protocol"]
        answer = trail("sign", str(entry), *by, *data)
        assert answer.returncode == 0, answer.stdout + answer.stderr
    assert trail(*activate).returncode == 0

    old, new_ = json.loads(trail("protocol", "list", "--json", *data).stdout)
    assert (old["began_with"], new_["reconsent"]) == (True, True)
    assert [one["user"] for one in new_["signed"]] == ["zhao.l", "sun.y"]
    assert new_["sites"][0]["state"] == "from"
    assert trail("protocol", "impact", "--file", file, *data).returncode == 0
    assert "open" in trail("show", "assumptions", *data).stdout
    assert trail("verify", home.directory).returncode == 0
    assert trail("replay", "--check", *data).returncode == 0
