"""A participant's personal detail is erased on a running stack: nobody can read it, and everything still holds."""

import io
import json
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from services.cli.app import app
from services.cli.beginning import begin_log
from services.cli.installation import Installation, user_of
from services.cli.reading import reading
from services.cli.stack import Stack
from shared.entry import Entry
from shared.envelope import read_envelope
from shared.events import short_type
from shared.words import SourceId, TrailError

SITE, SPONSOR = SourceId("site/701"), SourceId("sponsor/safety")
TOLD = "Frau Sonnenschein aus der Rosenstrasse rief an"
ALSO_TOLD = "bringt das Auto nicht zum Laufen"
TIME = "2026-03-04T09:00:00+08:00"

# Where a run of the command is killed: by its own hand, as no handler can notice (SIGKILL).
KILLED = {
    "ordered": "from services.cli.delivery import Line as at; name = 'deliver'; only = 'site/701'",
    "overwritten": "from pathlib import Path as at; name = 'unlink'; only = '.key'",
    "destroyed": "from services.cli.erasing import _Work as at; name = 'saying_so'; only = ''",
    "posted": "from services.cli.delivery import Line as at; name = 'deliver'; only = 'site/701'",
}
_DYING = """
import os, signal, sys
{where}
genuine = getattr(at, name)
def die(*given, **more):
    if only in repr(given):
        os.kill(os.getpid(), signal.SIGKILL)
    return genuine(*given, **more)
setattr(at, name, die)
from services.cli.app import main
main()
"""


def trail(home: Installation, *arguments: str | Path, code: int = 0) -> str:
    """What the command says, run in this process: there are too many to start one each."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        try:
            ended = app([*map(str, arguments), "--data", str(home.directory)], standalone_mode=False) or 0
        except TrailError as error:
            ended = 2
            said.write(str(error))
    assert ended == code, said.getvalue()
    return " ".join(said.getvalue().split())


def killed(home: Installation, where: str, *arguments: str) -> None:
    code = _DYING.format(where=KILLED[where])
    command = [sys.executable, "-c", code, *arguments, "--data", str(home.directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, f"{where}: {done.stdout}{done.stderr}"


def draft(type_: str, subject: str, source: str = SITE, **more: object) -> dict[str, object]:
    role = {"role": more.pop("role")} if "role" in more else {}
    return {"source": source, "type": type_, "subject": subject, "time": TIME, "data": more} | role


def submit(home: Installation, file: Path, *drafts: dict[str, object]) -> None:
    file.write_text("".join(json.dumps(one) + "\n" for one in drafts))
    trail(home, "submit", file, "--wait")


def entries_of(home: Installation, subject: str, type_: str) -> list[Entry]:
    with reading(home) as source:
        found = [entry for entry in source.log.entries() if entry.admitted]
    read = [(entry, read_envelope(entry.body)) for entry in found]
    return [entry for entry, event in read if event.subject == subject and short_type(event.type) == type_]


def sign(home: Installation, file: Path, people: list[str]) -> None:
    """The investigator and the sponsor's medical monitor sign every order."""
    drafts = []
    for person in people:
        (order,) = entries_of(home, person, "privacy.erasure_ordered")
        records = [{"index": order.index, "leaf": order.leaf.hex()}]
        for source, role in ((SITE, "investigator"), (SPONSOR, "medical_monitor")):
            name = f"{'Investigator' if role == 'investigator' else role} of {source}"
            user = user_of(source, role)  # type: ignore[arg-type]
            told = {"meaning": "erasure", "records": records, "name": name, "user": user}
            made = draft("record.signed", person, source, **told) | {"role": role}
            made["data"] = {**told, "role": role}
            made["time"] = order.header.sealed_at
            drafts.append(made)
    submit(home, file, *drafts)


def holding(home: Installation, text: str) -> list[Path]:
    """The files of the data directory that hold a text anywhere: pages that SQLite has freed, its WAL, all."""
    files = [path for path in home.directory.rglob("*") if path.is_file()]
    return [path for path in files if text.encode() in path.read_bytes()]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Installation]:
    home = begin_log(tmp_path / "trial", practice=True)
    stack = Stack(home)
    try:
        stack.start()
        yield home
    finally:
        stack.stop()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.part11("E6(R3) 3.16.1(t)")
def test_an_erasure_killed_anywhere_is_finished_by_the_next_run_and_breaks_no_proof(
    home: Installation, tmp_path: Path
) -> None:
    people = {where: f"701-{number:03}" for number, where in enumerate(KILLED, 1)}
    kept = "701-099"
    judged = {"interferes": False, "statement": TOLD, "on": "2026-03-03", "role": "investigator"}
    submit(
        home,
        tmp_path / "said.ndjson",
        *(draft("screening.registered", one, sex="male") for one in (*people.values(), kept)),
        *(draft("screening.judged", one, **judged) for one in (*people.values(), kept)),
        *(draft("screening.screen_failed", one, on="2026-03-04", why=ALSO_TOLD) for one in people.values()),
    )
    assert holding(home, TOLD) == holding(home, ALSO_TOLD) == []
    assert TOLD in trail(home, "show", "participant", people["posted"])

    trail(home, "erase", "701-777", "--why", "x", code=2)
    trail(home, "erase", people["ordered"], code=2)  # nobody has said why
    killed(home, "ordered", "erase", people["ordered"], "--why", "asked for")
    for one in people.values():
        assert "Nothing is erased yet" in trail(home, "erase", one, "--why", "asked for", code=1)
    sign(home, tmp_path / "signed.ndjson", list(people.values()))
    for where, one in people.items():
        if where != "ordered":
            killed(home, where, "erase", one)
    for one in people.values():
        assert "Erased" in trail(home, "erase", one)
        assert len(entries_of(home, one, "privacy.erasure_ordered")) == 1
        (done,) = entries_of(home, one, "privacy.erased")
        story = trail(home, "show", "participant", one)
        assert story.count(f"(erased by entry {done.index})") == 2
        assert TOLD not in story

    assert "Erased" in trail(home, "erase", people["ordered"]), "and once more changes nothing"
    assert len(entries_of(home, people["ordered"], "privacy.erased")) == 1

    assert [path.name for path in sorted((home.directory / "privacy").glob("*.key"))] == [f"{kept}.key"]
    assert TOLD in trail(home, "show", "participant", kept), "the others can still be read"
    again = draft("screening.judged", people["posted"], **judged)
    (tmp_path / "again.ndjson").write_text(json.dumps(again) + "\n")
    assert "was erased by order of" in trail(home, "submit", tmp_path / "again.ndjson", code=2)
    assert_all_holds(home, people["posted"], tmp_path)
    assert holding(home, TOLD) == holding(home, ALSO_TOLD) == []


def assert_all_holds(home: Installation, person: str, tmp_path: Path) -> None:
    """Every proof: the log, the decisions, the stores against each other, receipts."""
    assert "The log verifies" in trail(home, "verify")
    assert "The replay is equal" in trail(home, "replay", "--check")
    trail(home, "fsck")
    trail(home, "doctor")
    (judged,) = entries_of(home, person, "screening.judged")
    number = read_envelope(judged.body).sequence
    trail(home, "receipt", "save", SITE, str(number), "--out", tmp_path / "taken")
    assert "The receipt holds" in trail(
        home, "receipt", "verify", tmp_path / "taken" / f"site-701-{number}.tlog-proof"
    )


def bundle_of_all(home: Installation, target: Path) -> None:
    """A bundle of every entry: the witness cosigns a moment after the notary seals."""
    deadline = time.monotonic() + 60
    while "are not in it: no checkpoint over them is cosigned yet" in trail(home, "export", "bundle", target):
        assert time.monotonic() < deadline, "the witness never cosigned what was sealed"
        target.unlink()
        time.sleep(0.1)


@pytest.mark.slow
def test_a_bundle_holds_ciphertext_only_and_verifies(home: Installation, tmp_path: Path) -> None:
    judged = {"interferes": False, "statement": TOLD, "on": "2026-03-03", "role": "investigator"}
    said = (draft("screening.registered", "701-001", sex="male"), draft("screening.judged", "701-001", **judged))
    submit(home, tmp_path / "said.ndjson", *said)
    bundle_of_all(home, tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as bundle:
        bundle.extractall(tmp_path / "bundle")
    checked = subprocess.run(
        [sys.executable, "verify.py"], cwd=tmp_path / "bundle", capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    record = (tmp_path / "bundle" / "RECORD.html").read_text("utf-8")
    assert "(private; no key here)" in record, "a key that is at hand opens nothing that leaves the house"
    assert TOLD not in record
