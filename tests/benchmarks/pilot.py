"""The safety decider over a whole real study, beside reading and decoding the same entries: part of ``make bench``.

The study's data is not distributed with the code; where it is absent, this says so and measures nothing.
"""

import time
import uuid
from pathlib import Path
from typing import Final

from services.cli.beginning import trial_file
from services.cli.output import say
from services.cli.sdtm import read_study
from services.safety.decide import SafetyDecider
from shared.decider import Machine, read_event
from shared.drafts import Draft
from shared.entry import ADMITTED, NO_LEAF, Header, read_entry, seal
from shared.events import CATALOGUE
from shared.identities import ROOT_SOURCE
from shared.protocol.model import load_protocol, protocol_digest
from shared.words import LogIndex

PILOT: Final = Path(__file__).parents[2].parent / "shared" / "data" / "cdisc-pilot"
_TRIAL: Final = "CDISCPILOT01"
_SEALED: Final = "2026-03-04T01:12:00.000123Z"
_IDS: Final = uuid.UUID("5b0f5f0e-8f0b-5c1e-9a55-27f0e7a4c1d2")


def entries() -> list[bytes]:
    """The study as a log's entries; signatures are left out, because a decider never looks at them."""
    text = trial_file("cdiscpilot01")
    adopted = {"document": text, "digest": protocol_digest(text)}
    first = Draft(source=ROOT_SOURCE, type="protocol.adopted", time=_SEALED, data=adopted)
    sealed: list[bytes] = []
    leaf, counts = NO_LEAF, dict[str, int]()
    for draft in [first, *read_study(PILOT, load_protocol(text)).drafts]:
        counts[draft.source] = counts.get(draft.source, 0) + 1
        payload = draft.payload(_TRIAL, str(uuid.uuid5(_IDS, str(len(sealed)))), counts[draft.source])
        route = CATALOGUE[draft.event_type.name].name.split(".", 1)[1].rpartition(".v")[0]
        subject = f"intake.{_TRIAL}.{draft.source.replace('/', '.')}.{route}"
        header = Header(
            index=LogIndex(len(sealed)),
            intake=len(sealed) + 1,
            key="0" * 32,
            prev=leaf,
            reason="",
            sealed_at=_SEALED,
            signature="A" * 86 + "==",
            subject=subject,
            verdict=ADMITTED,
        )
        entry = seal(header, payload)
        leaf = entry.leaf
        sealed.append(entry.raw)
    return sealed


def deciding(raw: list[bytes]) -> tuple[float, float, int]:
    """Seconds to decide on the study, seconds to read and decode it alone, and the number of decisions."""
    began = time.perf_counter()
    for one in raw:
        read_event(read_entry(one))
    floor = time.perf_counter() - began
    machine, made = Machine(SafetyDecider()), 0
    began = time.perf_counter()
    for one in raw:
        made += len(machine.feed(read_entry(one)))
    return time.perf_counter() - began, floor, made


def main() -> None:
    """Measure and print."""
    if not PILOT.is_dir():
        say("The pilot study's data is not here: the safety decider over a whole study is not measured.")
        return
    raw = entries()
    deciding(raw[:2000])  # the unit grammar is loaded once, and is no part of either figure
    ours, floor, made = deciding(raw)
    say(
        f"deciding on safety over the pilot study: {len(raw)} entries, {made} decisions, {len(raw) / ours:,.0f}/s; "
        f"read and decoded alone {len(raw) / floor:,.0f}/s; ratio {floor / ours:.2f} (aim: 0.5)"
    )


if __name__ == "__main__":
    main()
