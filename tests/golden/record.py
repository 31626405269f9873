"""Record the golden log of the present engines: ``python -m tests.golden.record``. Never over an existing one.

A golden log pins every ruling and every decision of the engines to the byte. When a change alters any of them,
raise that service's ENGINE (services/screening/eligibility.py, services/safety/trial.py), record anew, keep the old
files, and say so in CHANGELOG.md. The log of screening-1 is of entry format 1, from before the safety service.
"""

import base64
import gzip
import json
import sys
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from services.cli.study import Day, synthetic_study
from services.safety.trial import ENGINE as SAFETY
from services.screening.eligibility import ENGINE as SCREENING
from shared.entry import Entry, read_entry
from tests.inprocess import InProcess

# One for each turn that a story can take.
PARTICIPANTS = frozenset(
    {
        "101-001", "101-002", "101-003", "101-004", "101-006", "101-007", "101-008", "101-009", "101-011",
        "101-012", "101-014", "101-015", "101-017",
        "102-001", "102-004", "102-007", "102-008", "102-010", "102-011", "102-013", "102-014", "102-015",
        "103-001", "103-003", "103-004", "103-005", "103-006", "103-007", "103-010", "103-012", "103-014",
    }
)  # fmt: skip


def golden_path(*engines: str) -> Path:
    """Where the golden log of these engines is kept; of the present ones where none is named."""
    name = "+".join(engine.replace("/", "-") for engine in engines or (SCREENING, SAFETY))
    return Path(__file__).parent / f"{name}.ndjson.gz"


def golden_days() -> list[Day]:
    """The golden study: some of the synthetic study's participants."""
    days = []
    for day in synthetic_study():
        acts = [act for act in day.acts if _code(act) in {*PARTICIPANTS, ""}]
        if acts:
            days.append(Day(day.at, acts))
    return days


def read_golden(path: Path) -> Iterator[tuple[Entry, tuple[int, str] | None]]:
    """Each entry with the checkpoint that was signed behind it, if one was."""
    with gzip.open(path, "rb") as file:
        for line in file:
            row = json.loads(line)
            entry = read_entry(row["entry"].encode() if "entry" in row else base64.b64decode(row["base64"]))
            yield entry, None if "note" not in row else (row["follows"], row["note"])


def record(path: Path) -> int:
    """Play the golden study and write its log; returns the number of entries."""
    days = golden_days()
    protocol = files("shared.protocol").joinpath("nct06027853.yaml").read_text("utf-8")
    with tempfile.TemporaryDirectory() as directory:
        study = InProcess(Path(directory), days[0].at, protocol)
        study.play(days)
        study.pass_time(40)
        notes = {size: (follows, note) for follows, size, note in study.notary.checkpoints.all()}
        with path.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as file:
            for entry in study.notary.log.entries():
                row: dict[str, object] = {}
                try:
                    row["entry"] = entry.raw.decode()
                except UnicodeDecodeError:
                    row["base64"] = base64.b64encode(entry.raw).decode()
                if entry.index + 1 in notes:
                    row["follows"], row["note"] = notes[entry.index + 1]
                file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        size = study.notary.size
        study.notary.close()
    return size


def _code(act: object) -> str:
    return act.draft.subject or "" if hasattr(act, "draft") else getattr(act, "participant", "")


if __name__ == "__main__":
    if golden_path().exists():
        sys.exit(f"{golden_path()} is there already: raise ENGINE to record another")
    print(f"{record(golden_path())} entries in {golden_path()}")
