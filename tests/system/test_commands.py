"""The command as people use it: a real stack, real files, exit codes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PILOT = ROOT.parent / "shared" / "data" / "cdisc-pilot"


def trail(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.cli.app", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd or ROOT, timeout=280)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`trail up` on a data directory of its own, ended as with Ctrl-C."""
    data = tmp_path_factory.mktemp("stack") / "trial"
    process = subprocess.Popen(
        [sys.executable, "-m", "services.cli.app", "up", "--data", str(data)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    assert "Trialtrail is up" in said, said
    assert str(data) in said
    yield data
    pids = json.loads((data / "run" / "processes.json").read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    for pid in pids.values():
        assert not Path(f"/proc/{pid}").exists(), "Ctrl-C leaves no process behind"


def draft(type_: str, **data: object) -> dict[str, object]:
    return {
        "source": "site/701",
        "type": type_,
        "subject": "701-001",
        "time": "2026-03-04T09:00:00+08:00",
        "data": data,
    }


REGISTERED = draft("screening.registered", sex="female", birth_date="1961-05-06")
CREATININE = draft(
    "screening.observed",
    item="creatinine",
    value=88.4,
    unit="umol/L",
    reference={"high": 106},
    collected="2026-03-03T08:10",
)


def write(path: Path, *drafts: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in drafts))
    return path


def screened(path: Path) -> Path:
    """A participant whose screening is completed; the same drafts each time, so posting them again adds nothing."""
    # A plan of the past is judged as of its day for good; without it the creatinine would be too old by now.
    closing = draft("screening.infusion_planned", first="2026-03-05"), draft("screening.completed", on="2026-03-04")
    return write(path, REGISTERED, CREATININE, *closing)


def test_a_site_posts_drafts_and_holds_receipts(up: Path, tmp_path: Path) -> None:
    file = screened(tmp_path / "events.ndjson")
    first = trail("submit", file, "--wait", "--json", "--data", up)
    assert first.returncode == 0, first.stderr
    outcomes = json.loads(first.stdout[first.stdout.index("[\n") :])
    assert [one["verdict"] for one in outcomes] == ["admitted"] * 4
    again = trail("submit", file, "--wait", "--json", "--data", up)
    assert json.loads(again.stdout) == outcomes, "the same file again posts nothing new"


def test_a_bad_draft_file_sends_nothing_and_says_what_to_mend(up: Path, tmp_path: Path) -> None:
    bad = draft("screening.observed", item="creatinine", value=-1, unit="umol/L", collected="2026-03-03")
    mixed = write(tmp_path / "bad.ndjson", CREATININE | {"time": "2026-03-04T10:00:00+08:00"}, bad)
    answer = trail("submit", mixed, "--wait", "--data", up)
    assert answer.returncode == 2
    assert "nothing was sent" in answer.stderr
    assert "line 2: data: creatinine cannot be negative" in answer.stderr


def test_a_trials_log_gives_no_person_a_key_without_a_passphrase(up: Path, tmp_path: Path) -> None:
    judged = draft("screening.judged", interferes=False, statement="none", on="2026-03-03") | {
        "role": "investigator"
    }
    ours = [CREATININE | {"source": "site/703"}, judged | {"source": "site/704"}]
    keys = sorted(path.name for path in (up / "keys").iterdir())
    answer = trail("submit", write(tmp_path / "judged.ndjson", *ours), "--wait", "--data", up)
    assert answer.returncode == 2
    assert "a person's key is opened by that person's passphrase" in " ".join(answer.stderr.split())
    assert sorted(path.name for path in (up / "keys").iterdir()) == keys, "no other key was made on the way"
    assert not (up / "outbox" / "site-703.sqlite").exists(), "nothing waits to be sent"
    answer = trail("up", "--practice", "--data", up)
    assert (answer.returncode, "never becomes one to practise with" in answer.stderr) == (2, True), answer.stderr


def test_an_event_the_notary_refuses_is_reported_with_its_reason(up: Path, tmp_path: Path) -> None:
    unknown = CREATININE | {"subject": "701-999"}
    answer = trail("submit", write(tmp_path / "unknown.ndjson", unknown), "--wait", "--data", up)
    assert answer.returncode == 1
    assert "participant 701-999 is not known" in answer.stderr


@pytest.mark.slow
def test_verify_replay_and_show_work_beside_the_running_stack(up: Path, tmp_path: Path) -> None:
    assert trail("submit", screened(tmp_path / "events.ndjson"), "--wait", "--data", up).returncode == 0
    deadline = time.monotonic() + 60
    while "undetermined" not in trail("replay", "--data", up).stdout:
        assert time.monotonic() < deadline
    report = json.loads(trail("verify", "--json", "--data", up).stdout)
    assert (report["faults"], report["good"]) == ([], True)
    assert trail("replay", "--check", "--data", up).returncode == 0
    story = trail("show", "participant", "701-001", "--data", up).stdout
    assert re.search(r"creatinine 88\.4 umol/L = 1\.00 mg/dL", " ".join(story.split()))
    shown = json.loads(trail("show", "entry", "0", "--json", "--data", up).stdout)
    assert shown["verdict"] == "admitted"
    assert trail("doctor", "--data", up).returncode == 0
    copy = tmp_path / "copy"
    shutil.copytree(up, copy, ignore=shutil.ignore_patterns("run"))
    assert trail("verify", copy).returncode == 0, "a copied data directory verifies elsewhere, with no stack"


def test_a_second_stack_on_the_same_data_is_refused(up: Path) -> None:
    answer = trail("up", "--data", up)
    assert answer.returncode == 2
    assert "already running" in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["verify", "nowhere"], "is not a data directory"),
        (["show", "participant", "x", "--data", "nowhere"], "is not a data directory"),
        (["import", "sdtm", "nowhere", "--data", "unused"], "nowhere"),
        (["replay", "--check", "--as-of", "3", "--data", "nowhere"], "leave --as-of"),
        (["submit", "no-file.ndjson", "--data", "nowhere"], "is not a data directory"),
    ],
)
def test_what_cannot_run_ends_with_a_sentence_and_code_2(
    arguments: list[str], sentence: str, tmp_path: Path
) -> None:
    answer = trail(*arguments, cwd=tmp_path)
    assert answer.returncode == 2
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.slow
@pytest.mark.timeout(290)
def test_the_demo_plays_verifies_replays_and_explains(tmp_path: Path) -> None:
    data = tmp_path / "demo"
    answer = trail("demo", "--data", data)
    assert answer.returncode == 0, answer.stderr
    assert "The log verifies" in answer.stdout
    assert "The replay is equal" in answer.stdout
    assert "was refused" not in answer.stdout, "the script's own posts are all admitted"
    known = json.loads(trail("replay", "--json", "--data", data).stdout)
    assert len(known) >= 30
    assert sum(one["place"] is not None for one in known.values()) == 24
    standings = {one["decision"]["standing"] for one in known.values()}
    assert standings == {"eligible", "ineligible", "undetermined"}
    story = " ".join(trail("show", "participant", "101-007", "--data", data).stdout.split())
    assert "ineligible" in story
    assert "48 %: below 50 %" in story
    before = json.loads(trail("replay", "--as-of", "2026-03-19T00:00:00Z", "--json", "--data", data).stdout)
    assert before["101-007"]["decision"] is None, "as of then, nothing was decided yet"
    milder = tmp_path / "amended.yaml"
    text = (data / "protocol.yaml").read_text("utf-8")
    amended, count = re.subn(r"(item: lvef, [^}]*less_than: )50", r"\g<1>45", text)
    assert count == 1, "the LVEF limit stands once in the protocol"
    milder.write_text(amended.replace('version: "1.0"', 'version: "2.0"'), "utf-8")
    changed = json.loads(trail("replay", "--protocol", milder, "--json", "--data", data).stdout)
    assert [one["subject"] for one in changed] == ["101-007"]
    assert "E10.3: met -> not_met" in changed[0]["what"]


@pytest.mark.slow
@pytest.mark.skipif(not PILOT.exists(), reason="the CDISC pilot study's data are not beside this checkout")
@pytest.mark.timeout(290)
def test_a_real_trials_sdtm_ends_in_306_decisions_that_verify_and_replay(tmp_path: Path) -> None:
    data = tmp_path / "pilot"
    answer = trail("import", "sdtm", PILOT, "--data", data, "--json")
    assert answer.returncode == 0, answer.stderr
    summary = json.loads(answer.stdout)
    assert (summary["participants"], summary["sites"], summary["decisions"]) == (306, 17, 306)
    assert summary["refused"] == []
    for counts in summary["laboratory"].values():
        assert sum(counts.values()) == 306
    assert {one["why"] for one in summary["unmapped"]} >= {"its unit mmHg is no unit of time"}
    assert trail("verify", "--data", data).returncode == 0
    checked = json.loads(trail("replay", "--check", "--json", "--data", data).stdout)
    assert (checked["good"], checked["decisions"], checked["pending"]) == (True, 307, 0)  # and where slots are open
