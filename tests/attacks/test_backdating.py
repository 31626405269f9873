"""Sealed time stands still when a clock is put back, and lies only between two moments that outsiders have seen."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from services.audit.authorities import read_authorities
from services.audit.notary import Notary
from services.audit.timestamping import Timestamper
from services.audit.timestamps import Timestamps
from services.cli.beginning import begin_log
from services.cli.installation import Installation
from shared.checkpoint import read_checkpoint
from shared.moments import instant
from shared.note import split_note
from tests.attacks.scene import entries, trail, witness_alone
from tests.attacks.thief import Clock, asked, garbage, notary_at
from tests.tsa import Certifier, Tsa

A_DAY = timedelta(days=1)


def stamped(home: Installation, notary: Notary, note: str) -> None:
    """Have a checkpoint stamped by the authorities of the home, by whose clocks it is today."""
    checkpoint = read_checkpoint(split_note(note)[0])
    store, authorities = Timestamps(notary.checkpoints.engine), read_authorities(home.timestamping_path)
    with httpx.Client() as client:
        timestamper = Timestamper(store, authorities, Clock(), client)
        timestamper.stamp(checkpoint.text(), checkpoint.size)
    assert timestamper.troubles == {}


def test_a_clock_that_is_put_back(home: Installation) -> None:
    last = entries(home)[-1].header.sealed_at
    clock = Clock(instant(last) - A_DAY)
    with witness_alone(home), notary_at(home, home.directory, clock) as notary:
        (entry,) = notary.seal([garbage(home, notary.intake + 1)]).entries
        told = asked(home, notary, clock).troubles["local"].what
    assert entry.header.sealed_at == last, "time stands still until the clock has caught up"
    assert "off this machine's, so its cosignature was not taken: set the clock that is wrong" in told


def test_entries_backdated_with_the_stolen_key(tmp_path: Path) -> None:
    """The operator's notary lives in yesterday from the beginning; the witness and the authority live today."""
    yesterday, certifier = Clock(datetime.now(UTC) - A_DAY), Certifier(tmp_path / "certifier")
    home = begin_log(tmp_path / "trial", start=yesterday.now)
    with Tsa(certifier) as tsa, witness_alone(home), notary_at(home, home.directory, yesterday) as notary:
        authority = {"name": "tsa-1", "url": tsa.url, "roots": str(certifier.roots)}
        home.timestamping_path.write_text(json.dumps({"every_seconds": 60, "authorities": [authority]}), "utf-8")
        for number in (1, 2):
            yesterday.now += timedelta(minutes=1)
            sealed = notary.seal([garbage(home, number)])
            assert asked(home, notary).troubles == {}
            stamped(home, notary, sealed.note)
    verified = trail("verify", home.directory)
    assert verified.code == 1
    assert "entry 2 says it was sealed at" in verified.text
    for who in ("the witness local", "tsa-1"):
        assert f"but {who} stamped a checkpoint without it at" in verified.text
    assert "it was backdated" in verified.text


def test_entries_backdated_before_anybody_has_seen_one(tmp_path: Path) -> None:
    """What no outsider has seen yet may claim any time since what one has seen: this is a limit, and no fault."""
    yesterday = Clock(datetime.now(UTC) - A_DAY)
    home = begin_log(tmp_path / "trial", start=yesterday.now)
    with witness_alone(home), notary_at(home, home.directory, yesterday) as notary:
        for number in (1, 2):
            yesterday.now += timedelta(minutes=1)
            notary.seal([garbage(home, number)])
        assert asked(home, notary).troubles == {}
    assert trail("verify", home.directory).code == 0
