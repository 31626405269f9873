"""Sealed time never goes back: a real log follows the clock and ticks, a simulated one moves only when told."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.entry import Arrival, Entry
from shared.moments import instant, stamp
from tests.notary import LOG, OBSERVED, PERSON, START, Office


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office.founded(tmp_path)
    office.register()
    yield office
    office.notary.close()


def message(office: Office, **changes: Any) -> Arrival:
    return office.arrival(office.event("screening.observed", OBSERVED, subject=PERSON, **changes))


def said(entry: Entry) -> tuple[str, dict[str, Any]]:
    document = json.loads(entry.body)
    return document["type"].removeprefix("trialtrail.").removesuffix(".v1"), document["data"]


@pytest.mark.part11("11.10(e)")
def test_a_clock_set_back_does_not_unseal_time(office: Office) -> None:
    times = []
    for step in (timedelta(0), -timedelta(days=1), timedelta(hours=1), -timedelta(seconds=1), timedelta(days=2)):
        office.now += step
        times.append(office.seal([message(office, time=stamp(START))]).entries[0].header.sealed_at)
    assert times == sorted(times)
    assert times[0] == times[1]
    office.now -= timedelta(days=10)
    office.reopen()
    assert office.seal([message(office, time=stamp(START))]).entries[0].header.sealed_at == times[-1]
    assert office.verify().good


def test_a_simulated_clock_ticks_at_each_boundary_it_passes(tmp_path: Path) -> None:
    office = Office.founded(tmp_path, clock="simulated", tick_seconds=3600)
    start = instant(office.entries()[0].header.sealed_at)
    assert {entry.header.sealed_at for entry in office.entries()} == {stamp(start)}
    moved, *ticks = office.move_clock(start + timedelta(hours=3, minutes=59)).entries
    assert (said(moved)[0], moved.header.sealed_at) == ("log.clock_moved", stamp(start))
    assert [(said(tick)[0], tick.header.sealed_at) for tick in ticks] == [
        ("log.ticked", stamp(start + timedelta(hours=at))) for at in (1, 2, 3)
    ]
    assert office.register().header.sealed_at == stamp(start + timedelta(hours=3, minutes=59))
    _, tick = office.move_clock(start + timedelta(hours=4)).entries
    assert tick.header.sealed_at == stamp(start + timedelta(hours=4))
    assert len(office.move_clock(start + timedelta(hours=4, minutes=59)).entries) == 1
    office.reopen()
    assert len(office.move_clock(start + timedelta(hours=5)).entries) == 2
    assert office.notary.tick_due is None
    assert office.verify().good
    office.notary.close()


@pytest.mark.parametrize(
    ("hours", "sentence"),
    [
        (0, "the clock stands at 2026-03-04T09:00:00.500000Z and moves only forward"),
        (-1, "the clock stands at"),
        (2001, "the clock moves by at most 2000 ticks at once"),
    ],
)
def test_a_simulated_clock_moves_only_forward_and_in_bounds(tmp_path: Path, hours: int, sentence: str) -> None:
    office = Office.founded(tmp_path, clock="simulated", tick_seconds=3600)
    start = instant(office.entries()[0].header.sealed_at)
    (entry,) = office.move_clock(start + timedelta(hours=hours)).entries
    assert entry.header.reason.startswith(sentence)
    assert office.register().header.sealed_at == stamp(start)
    office.notary.close()


def test_a_real_log_ticks_when_asked_and_says_when_the_next_is_due(office: Office) -> None:
    assert office.notary.tick_due == START + timedelta(milliseconds=500, seconds=900)
    office.now = START + timedelta(hours=1)
    sealed = office.notary.seal([message(office)], tick=True)
    tick, event = sealed.entries
    assert (said(tick), tick.header.intake, tick.header.key) == (("log.ticked", {}), 0, LOG.id)
    assert instant(tick.header.sealed_at) == office.now
    assert event.admitted
    assert len(sealed.receipts) == 1
    assert office.notary.tick_due == office.now + timedelta(seconds=900)
    assert office.verify().good
