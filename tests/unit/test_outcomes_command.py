"""``trail outcomes``: the tables, the same for programs, as pictures, and what a number rests on."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from services.cli import output
from services.cli.installation import Installation
from services.cli.outcomes import tell_outcomes
from services.cli.output import GOOD
from shared.words import TrailError
from tests.inprocess import LOG_KEY, TRIAL
from tests.treated import Treated, chimerism, event, recovered

NERVES = "Nervous system disorders"
SVG = "{http://www.w3.org/2000/svg}"
LATER = ("2026-03-07", "2026-03-18", "2026-03-25", "2026-04-01", "2026-05-03", "2026-06-02")
GUT = "Gut, $x_1$ & <b>[bold]"  # nothing of this is markup, a formula or XML


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two levels, a toxicity at the first, a window that is open, curves with a limit of detection."""
    directory = tmp_path_factory.mktemp("trial")
    house = Treated(directory)
    house.infuse("701-001", "701-002")
    house.infuse("701-003", level="DL2", at="2026-06-10T10:00:00+08:00")
    house.say(
        [
            event("701-001", "1", "Nausea", GUT, onset="2026-03"),
            event("701-002", "1", "Encephalopathy", NERVES, grade=4, causality="probable"),
            event("701-003", "1", "Encephalopathy", NERVES, onset="2026-06-12", grade=1),
            *recovered("701-001"),
            chimerism("701-001", "2026-03-05", "0.01", comparator="<"),
            chimerism("701-001", "2026-03-11", "12.5"),
            *(chimerism("701-002", day, "0.0125") for day in LATER),
            chimerism("701-003", "2026-06-11", "3.25"),
            chimerism("701-003", "2026-06-12", "0"),
        ]
    )
    house.pass_time(1)
    house.notary.close()
    Installation(directory, TRIAL, LOG_KEY, "simulated").write()
    return directory


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output.out, "_width", 100)


def shown(home: Path, capsys: pytest.CaptureFixture[str], **asked: Any) -> str:
    assert tell_outcomes(home, **asked) == GOOD
    return capsys.readouterr().out


def as_told(home: Path, capsys: pytest.CaptureFixture[str], **asked: Any) -> dict[str, Any]:
    told = json.loads(shown(home, capsys, json_=True, **asked))
    assert isinstance(told, dict)
    return told


def test_the_tables_say_of_which_moment_they_are_and_fit_a_hundred_columns(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(home, capsys)
    last = as_told(home, capsys)["as_of"]
    assert f"as of entry {last['entry']}, sealed at {last['sealed_at']}, protocol 1." in text
    _, *tables, _ = text.split("\n\n")
    assert max(map(len, "\n".join(tables).splitlines())) <= 100
    words = " ".join(text.split())
    assert "any 2 (100.0) [2] 1 (100.0) [1] 0 3 (100.0) [3]" in words
    assert "Encephalopathy 1 (50.0) [1] 1 (100.0) [1] 0 2 (66.7) [2]" in words
    assert f"{GUT} 1 (50.0) [1]" in words
    assert "0.5000" in words
    assert "<0.01" in words
    assert words.count("0.0125") == len(LATER)
    assert "1 adverse event: a date that could go either way" in words


def test_a_program_gets_every_number_with_its_entries(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = as_told(home, capsys)
    total = told["incidence"]["any"]["total"]
    assert (total["n"], total["of"], total["percent"], total["events"]) == (3, 3, "100.0", 3)
    assert total["participants"] == ["701-001", "701-002", "701-003"]
    assert total["entries"] == [event["entry"] for event in told["events"]]
    first = told["limiting"]["levels"][0]
    assert (first["dose_level"], first["rate"], first["low"], first["high"]) == ("DL1", "0.5000", 0.0126, 0.9874)
    assert [point["percent"] for point in told["chimerism"][0]["points"]] == ["0.01", "12.5"]


def test_as_of_an_earlier_moment_less_was_known(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = as_told(home, capsys)["incidence"]["any"]["total"]["entries"][0]
    before, then = (as_told(home, capsys, as_of=str(moment)) for moment in (first - 1, first))
    assert (before["as_of"]["entry"], then["as_of"]["entry"]) == (first - 1, first)
    assert [told["incidence"]["any"]["total"]["n"] for told in (before, then)] == [0, 1]


def test_before_anybody_was_exposed_that_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Nobody had been exposed to the study treatment by then" in shown(home, capsys, as_of="5")


@pytest.mark.parametrize(
    ("moment", "sentence"),
    [
        ("0", "no protocol was in force at that moment"),
        ("2020-01-01T00:00:00Z", "nothing was sealed by that moment"),
        ("Tuesday", "--as-of takes an entry index or a time"),
    ],
)
def test_a_moment_of_which_there_is_nothing_to_tell(home: Path, moment: str, sentence: str) -> None:
    with pytest.raises(TrailError, match=sentence):
        tell_outcomes(home, as_of=moment)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("encephalopathy", ["701-002", "701-003", "onset 2026-06-12, day 2 of the window of days 0 to 28"]),
        (NERVES, ["701-002", "701-003", "(grade 4, not serious, related, emergent)"]),
        ("DL1", ["701-001", "clean, from 2026-03-04", "701-002", "dlt, from 2026-03-04"]),
        ("701-003", ["Encephalopathy", "open, from 2026-06-10", "3.25"]),
        ("chimerism", ["701-001", "<0.01", "701-003", "2026-06-11"]),
    ],
)
def test_what_a_number_rests_on_is_told_entry_by_entry(
    home: Path, capsys: pytest.CaptureFixture[str], name: str, expected: list[str]
) -> None:
    text = " ".join(shown(home, capsys, trace=name).split())
    assert [words for words in expected if words not in text] == []


def test_a_name_that_nothing_is_counted_under_is_an_error_that_says_what_to_give(home: Path) -> None:
    with pytest.raises(TrailError, match="nothing is counted under 'Gout': give a row's label"):
        tell_outcomes(home, trace="Gout")


def test_pictures_tell_what_they_show_and_come_out_the_same_every_time(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again"
    for directory in (tmp_path / "once", again):
        shown(home, capsys, pictures=directory)
    descriptions = {}
    for path in sorted(again.iterdir()):
        assert path.read_bytes() == (tmp_path / "once" / path.name).read_bytes()
        picture = ElementTree.fromstring(path.read_bytes())  # noqa: S314 - our own
        assert picture.get("role") == "img"
        assert picture[0].tag == f"{SVG}title"
        assert picture[1].tag == f"{SVG}desc"
        descriptions[path.name] = f"{picture[0].text}: {picture[1].text}"
        drawn = [text.text for text in picture.iter(f"{SVG}text")]
        assert (GUT in drawn) == (path.name == "adverse-events.svg")
    assert list(descriptions) == ["adverse-events.svg", "chimerism.svg", "dose-limiting-toxicities.svg"]
    assert f"{NERVES}: DL1 1 of 2, DL2 1 of 1, DL3 0 of 0" in descriptions["adverse-events.svg"]
    assert "701-001 (DL1): day 1 <0.01%, day 7 12.5%" in descriptions["chimerism.svg"]
    assert "1 of the measurements not drawn: 0, or of no one day" in descriptions["chimerism.svg"]
    rates = descriptions["dose-limiting-toxicities.svg"]
    assert "DL1: 1 of 2, rate 0.5000, interval 0.0126 to 0.9874. DL2: 0 of 0, 1 open" in rates
    assert "the escalation rule looks for 0.3" in rates


def test_where_there_is_nothing_to_draw_that_is_said(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tell_outcomes(home, as_of="5", pictures=tmp_path) == GOOD
    assert "There is nothing to draw yet." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_other_commands_do_not_wait_for_the_libraries_that_count_and_draw() -> None:
    slow = "any(name.startswith(('scipy', 'matplotlib')) for name in sys.modules)"
    code = f"import sys, services.cli.app, services.cli.checking, services.console.replay; sys.exit({slow})"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
