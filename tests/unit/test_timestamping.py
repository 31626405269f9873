"""Authorities are asked at an interval and believed only if they prove it; one that is down stops nothing."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from services.audit import timestamping
from services.audit.anchors import TOLERANCE
from services.audit.authorities import Authority, Timestamping
from services.audit.checkpoints import Checkpoints
from services.audit.timestamping import Timestamper, ask
from services.audit.timestamps import Timestamps, check
from shared.words import TrailError
from tests.tsa import Answer, Tsa, World, openssl_accepts, roots_of, text_of

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
TEXT = text_of(5)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.made(tmp_path_factory.mktemp("world"))


@pytest.fixture
def tsa(world: World) -> Iterator[Tsa]:
    with Tsa(world.trusted) as running:
        yield running


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=None) as made:  # noqa: S113 - asking must bring its own
        yield made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Timestamps]:
    checkpoints = Checkpoints.at(tmp_path / "checkpoints.sqlite")
    yield Timestamps(checkpoints.engine)
    checkpoints.close()


def authority_of(tsa: Tsa, name: str = "tsa-1") -> Authority:
    return Authority(name, tsa.url, roots_of(tsa.certifier))


# An answer is believed only if it verifies


def test_an_authoritys_answer_verifies_here_and_with_openssl(
    tsa: Tsa, client: httpx.Client, store: Timestamps, tmp_path: Path
) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    store.add(ask(authority_of(tsa), TEXT, client))
    [timestamp] = store.all()
    assert (timestamp.authority, timestamp.size, timestamp.text) == ("tsa-1", 5, TEXT)
    assert before <= check(timestamp, authority_of(tsa).roots) <= datetime.now(UTC)
    assert openssl_accepts(timestamp.token, TEXT, tsa.certifier.roots, tmp_path)
    assert not openssl_accepts(timestamp.token, text_of(6), tsa.certifier.roots, tmp_path)


def test_no_answer_but_a_good_one_is_believed(
    world: World, tsa: Tsa, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timestamping, "PATIENCE", 0.3)

    def strangers(query: bytes) -> Answer:
        return 200, [world.stranger.reply(query)]

    def replayed(_query: bytes) -> Answer:
        return 200, [world.trusted.stamp(TEXT)]

    def unnamed(query: bytes) -> Answer:
        return 200, [world.trusted.restamp(world.trusted.reply(query), named=False)]

    cases = {
        tsa.broken: "answered with HTTP status 500",
        tsa.garbage: "sent an answer that does not hold: ASN.1 parse error",
        tsa.silent: "cannot be asked: timed out",
        tsa.trickling: "took longer than 0.3 seconds over its answer",
        tsa.endless: "answered with more than 100000 bytes",
        tsa.refusing: "sent an answer that does not hold: it is a refusal: status 2, Bad request format or system",
        tsa.other_text: "it stamps something else than this checkpoint",
        strangers: "unable to get local issuer certificate",
        replayed: "it answers another request",
        unnamed: "it does not name its signer's certificate",
    }
    for answer, sentence in cases.items():
        tsa.answer = answer
        with pytest.raises(TrailError) as raised:
            ask(authority_of(tsa), TEXT, client)
        assert str(raised.value).startswith(f"the time-stamping authority tsa-1 ({tsa.url}) ")
        assert sentence in str(raised.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://no-such-host.invalid/", "http://[::1/"])
def test_an_authority_that_is_not_there_is_named(client: httpx.Client, url: str) -> None:
    with pytest.raises(TrailError, match=r"the time-stamping authority tsa-1 \(.*\) cannot be asked: .+"):
        ask(Authority("tsa-1", url, ()), TEXT, client)


# At an interval, by whoever can be reached


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def test_a_checkpoint_is_stamped_by_each_authority_once_an_interval(
    world: World, tsa: Tsa, client: httpx.Client, store: Timestamps
) -> None:
    clock = Clock()
    with Tsa(world.stranger) as other:
        authorities = (authority_of(tsa), authority_of(other, "tsa-2"))
        timestamper = Timestamper(store, Timestamping(HOUR, authorities), clock, client)
        assert timestamper.due(clock.now)
        timestamper.stamp(text_of(5), 5)
        assert not timestamper.due(clock.now)
        timestamper.stamp(text_of(6), 6)
        clock.now += HOUR
        assert timestamper.due(clock.now)
        timestamper.stamp(text_of(7), 7)
        assert [(one.authority, one.size) for one in store.all()] == [
            ("tsa-1", 5),
            ("tsa-2", 5),
            ("tsa-1", 7),
            ("tsa-2", 7),
        ]
        assert (tsa.asked, other.asked) == (2, 2)
    for one, authority in zip(store.all(), authorities * 2, strict=True):
        check(one, authority.roots)


def test_a_log_that_has_not_grown_is_not_stamped_again(tsa: Tsa, client: httpx.Client, store: Timestamps) -> None:
    clock = Clock()
    timestamper = Timestamper(store, Timestamping(HOUR, (authority_of(tsa),)), clock, client)
    timestamper.stamp(TEXT, 5)
    clock.now += HOUR
    timestamper.stamp(TEXT, 5)
    assert (tsa.asked, len(store.all())) == (1, 1)
    assert timestamper.due(clock.now)


def test_the_interval_goes_on_across_a_restart_and_a_clock_that_is_put_back(
    tsa: Tsa, client: httpx.Client, store: Timestamps
) -> None:
    clock = Clock()
    timestamping = Timestamping(HOUR, (authority_of(tsa),))
    Timestamper(store, timestamping, clock, client).stamp(TEXT, 5)
    again = Timestamper(store, timestamping, clock, client)
    assert not again.due(clock.now + HOUR - MINUTE)
    assert again.due(clock.now + HOUR + MINUTE)
    assert again.due(clock.now - HOUR)


def test_a_dead_authority_is_remembered_asked_less_and_less_and_forgiven(
    tsa: Tsa, client: httpx.Client, store: Timestamps
) -> None:
    clock = Clock()
    timestamper = Timestamper(store, Timestamping(3 * MINUTE, (authority_of(tsa),)), clock, client)
    tsa.answer = tsa.broken
    died, pauses = clock.now, []
    for _ in range(5):
        timestamper.stamp(TEXT, 5)
        trouble = timestamper.troubles["tsa-1"]
        assert (trouble.since, trouble.what) == (
            died,
            f"the time-stamping authority tsa-1 ({tsa.url}) answered with HTTP status 500",
        )
        before = clock.now
        while not timestamper.due(clock.now):
            clock.now += MINUTE
        pauses.append((clock.now - before) // MINUTE)
    assert (pauses, tsa.asked, store.all()) == ([1, 2, 3, 3, 3], 5, [])
    tsa.answer = tsa.good
    clock.now = datetime.now(UTC)
    timestamper.stamp(TEXT, 5)
    assert (timestamper.troubles, len(store.all())) == ({}, 1)
    clock.now += HOUR
    tsa.answer = tsa.broken
    timestamper.stamp(text_of(6), 6)
    assert timestamper.troubles["tsa-1"].since == clock.now
    assert timestamper.due(clock.now + MINUTE)


def test_a_dead_authority_does_not_keep_another_from_stamping(
    world: World, tsa: Tsa, client: httpx.Client, store: Timestamps
) -> None:
    with Tsa(world.trusted) as dead:
        dead.answer = dead.broken
        authorities = (authority_of(dead, "dead"), authority_of(tsa, "alive"))
        timestamper = Timestamper(store, Timestamping(HOUR, authorities), Clock(), client)
        timestamper.stamp(TEXT, 5)
    assert ([one.authority for one in store.all()], list(timestamper.troubles)) == (["alive"], ["dead"])


def test_a_store_that_cannot_be_written_is_a_trouble_and_no_error(
    tsa: Tsa, client: httpx.Client, tmp_path: Path
) -> None:
    Checkpoints.at(tmp_path / "checkpoints.sqlite").close()
    full = Checkpoints.at(tmp_path / "checkpoints.sqlite", read_only=True)
    timestamper = Timestamper(Timestamps(full.engine), Timestamping(HOUR, (authority_of(tsa),)), Clock(), client)
    timestamper.stamp(TEXT, 5)
    full.close()
    assert "readonly database" in timestamper.troubles["tsa-1"].what


def test_a_checkpoint_that_has_grown_old_while_others_were_asked_is_not_stamped(
    world: World, tsa: Tsa, client: httpx.Client, store: Timestamps
) -> None:
    clock = Clock()
    with Tsa(world.trusted) as slow:

        def slowly(query: bytes) -> Answer:
            clock.now += TOLERANCE
            return slow.good(query)

        slow.answer = slowly
        authorities = (authority_of(slow, "slow"), authority_of(tsa))
        timestamper = Timestamper(store, Timestamping(HOUR, authorities), clock, client)
        timestamper.stamp(text_of(5), 5)
        assert tsa.asked == 0
        assert timestamper.due(clock.now)
        timestamper.stamp(text_of(6), 6)
    assert [(one.authority, one.size) for one in store.all()] == [("slow", 5), ("tsa-1", 6)]


def test_a_clock_that_is_far_from_the_authoritys_is_a_trouble_though_the_stamp_is_kept(
    tsa: Tsa, client: httpx.Client, store: Timestamps
) -> None:
    clock = Clock()
    clock.now += HOUR
    timestamper = Timestamper(store, Timestamping(HOUR, (authority_of(tsa),)), clock, client)
    timestamper.stamp(TEXT, 5)
    assert len(store.all()) == 1
    assert "set the clock" in timestamper.troubles["tsa-1"].what
