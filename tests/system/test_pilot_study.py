"""A whole real study through broker, notary and both deciding services, and out again as its published display."""

import csv
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

PILOT = Path(__file__).parents[2].parent / "shared" / "data" / "cdisc-pilot"
ARMS = ("plb", "xlo", "xhi")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not PILOT.is_dir(), reason=f"the CDISC pilot study is not at {PILOT}"),
]


def trail(*arguments: str) -> Any:
    """Run the command with --json; what it printed."""
    command = [sys.executable, "-m", "services.cli.app", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, timeout=2000, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return json.loads(done.stdout)


def test_the_whole_pilot_study_goes_through_the_stack_and_comes_out_as_published(tmp_path: Path) -> None:
    home = str(tmp_path / "pilot")
    imported = trail("import", "sdtm", str(PILOT), "--protocol", "cdiscpilot01", "--data", home)
    assert imported["refused"] == []
    assert (imported["participants"], imported["types"]["safety.event_reported"]) == (306, 1191)
    assert imported["types"]["safety.observed"] > 90_000

    outcomes = trail("outcomes", "--data", home)
    counts = outcomes["incidence"]
    made = {"": counts["any"]} | {one["row"]["label"]: one["row"] for one in counts["classes"]}
    with (PILOT / "teae_by_soc.csv").open(newline="", encoding="utf-8") as file:
        published = list(csv.DictReader(file))
    assert len(made) == len(published) == 24
    for line in published:
        expected = [(int(line[f"{arm}_n"]), line[f"{arm}_pct"], int(line[f"{arm}_events"])) for arm in ARMS]
        cells = made[line["soc"]]["arms"]
        found = [(one["n"], one["percent"] if Decimal(one["percent"]) else "", one["events"]) for one in cells]
        assert found == expected, line["soc"]

    replayed = trail("replay", "--check", "--data", home)
    assert (replayed["good"], replayed["pending"]) == (True, 0)
    assert replayed["decisions"] > 5000
