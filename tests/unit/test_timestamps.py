"""Timestamps outlive the certificates and the authority behind them, and only the true ones are believed."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import DatabaseError

from services.audit.authorities import Authority, Timestamping
from services.audit.checkpoints import Checkpoints
from services.audit.timestamps import Timestamp, Timestamps, check, overdue, verify_token
from shared.moments import instant, stamp
from shared.words import EvidenceError
from tests.tsa import World, openssl_accepts, roots_of, text_of

HOUR = timedelta(hours=1)
THEN = instant("2024-06-01T00:00:00Z")
TEXT = text_of(5)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.made(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def genuine(world: World) -> Timestamp:
    """A trusted authority's timestamp, as it is kept."""
    return kept(world.trusted.restamp(world.trusted.stamp(TEXT), at=THEN), THEN)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Timestamps]:
    checkpoints = Checkpoints.at(tmp_path / "checkpoints.sqlite")
    yield Timestamps(checkpoints.engine)
    checkpoints.close()


def kept(token: bytes, at: datetime) -> Timestamp:
    return Timestamp("tsa-1", 5, TEXT, stamp(at), token)


def test_a_timestamp_outlives_its_certificate(world: World, tmp_path: Path) -> None:
    world.trusted.issue("retired", first="20210101000000Z", last="20220101000000Z")
    genuine = world.trusted.stamp(TEXT)
    then, late = instant("2021-06-01T00:00:00Z"), instant("2022-06-01T00:00:00Z")
    token = world.trusted.restamp(genuine, at=then, signer="retired")
    assert check(kept(token, then), roots_of(world.trusted)) == then
    assert openssl_accepts(token, TEXT, world.trusted.roots, tmp_path, "-attime", f"{then.timestamp():.0f}")
    assert not openssl_accepts(token, TEXT, world.trusted.roots, tmp_path)
    token = world.trusted.restamp(genuine, at=late, signer="retired")
    with pytest.raises(EvidenceError, match="does not hold: certificate has expired"):
        check(kept(token, late), roots_of(world.trusted))


def test_a_certificate_that_is_not_for_timestamping_stamps_nothing(world: World) -> None:
    world.trusted.issue("website", "web")
    token = world.trusted.restamp(world.trusted.stamp(TEXT), at=THEN, signer="website")
    with pytest.raises(EvidenceError, match="does not hold: unsuitable certificate purpose"):
        check(kept(token, THEN), roots_of(world.trusted))


def test_any_of_an_authoritys_roots_will_do_but_one_it_must_be(world: World, genuine: Timestamp) -> None:
    assert check(genuine, roots_of(world.stranger) + roots_of(world.trusted)) == THEN
    for roots in (roots_of(world.stranger), ()):
        with pytest.raises(EvidenceError, match="the timestamp of tsa-1 over 5 entries does not hold"):
            check(genuine, roots)


def test_certificates_between_signer_and_root_may_come_in_any_order(world: World, tmp_path: Path) -> None:
    world.trusted.issue("between", "root")
    world.trusted.issue("leaf", by="between")
    for chain in (["between", "root"], ["root", "between"]):
        token = world.trusted.stamp(TEXT, "leaf", chain)
        assert openssl_accepts(token, TEXT, world.trusted.roots, tmp_path)
        assert abs(verify_token(token, TEXT, roots_of(world.trusted)) - datetime.now(UTC)) < HOUR
    token = world.trusted.stamp(TEXT, "leaf")
    with pytest.raises(EvidenceError, match="unable to get local issuer certificate"):
        verify_token(token, TEXT, roots_of(world.trusted))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"text": text_of(5).replace("BQU", "BQV")}, "it stamps something else than this checkpoint"),
        ({"text": text_of(6)}, "it is kept under another size than it stamps"),
        ({"size": 6}, "it is kept under another size than it stamps"),
        ({"text": "5\n"}, "what is stamped is not a checkpoint's text"),
        ({"text": text_of(5) + "\n"}, "what is stamped is not a checkpoint's text"),
        ({"text": "\udc80" + text_of(5)}, "surrogates not allowed"),
        (
            {"time": "2024-06-01T00:00:01.000000Z"},
            "as of 2024-06-01T00:00:01.000000Z but stamps 2024-06-01T00:00:00",
        ),
    ],
)
def test_what_is_kept_with_a_token_must_be_what_it_stamps(
    world: World, genuine: Timestamp, changed: dict[str, Any], sentence: str
) -> None:
    assert check(genuine, roots_of(world.trusted)) == THEN
    with pytest.raises(EvidenceError, match=sentence):
        check(replace(genuine, **changed), roots_of(world.trusted))


@given(data=st.data())
def test_no_bytes_break_the_check_and_none_move_the_time(
    world: World, genuine: Timestamp, data: st.DataObject
) -> None:
    change = st.tuples(st.integers(0, len(genuine.token)), st.integers(0, 8), st.binary(max_size=8))
    damaged = st.lists(change, min_size=1, max_size=4).map(lambda changes: cut(genuine.token, changes))
    token = data.draw(st.binary() | damaged)
    with suppress(EvidenceError):  # some bytes of an answer are not signed
        assert check(replace(genuine, token=token), roots_of(world.trusted)) == THEN


def cut(token: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """The token with bytes replaced: from where, how many, by what."""
    for start, length, by in changes:
        token = token[:start] + by + token[start + length :]
    return token


# They are kept beside the checkpoints, and only ever added


def test_timestamps_are_found_again_by_authority_and_by_size(store: Timestamps, genuine: Timestamp) -> None:
    other = replace(genuine, authority="tsa-2")
    older, newer = (replace(genuine, size=size, text=text_of(size)) for size in (4, 100))
    for one in (newer, genuine, older, other):
        store.add(one)
    assert store.all() == [older, genuine, other, newer]
    assert (store.latest("tsa-1"), store.latest("tsa-2"), store.latest("tsa-3")) == (newer, other, None)


def test_a_file_from_before_there_were_timestamps_reads_as_one_without(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.sqlite"
    Checkpoints.at(path).close()
    before = path.read_bytes()
    old = Checkpoints.at(path, read_only=True)
    assert (Timestamps(old.engine).all(), Timestamps(old.engine).latest("tsa-1")) == ([], None)
    old.close()
    assert path.read_bytes() == before


@pytest.mark.parametrize("statement", ["UPDATE timestamps SET time = ''", "DELETE FROM timestamps"])
def test_timestamps_can_only_be_added(tmp_path: Path, genuine: Timestamp, statement: str) -> None:
    checkpoints = Checkpoints.at(tmp_path / "checkpoints.sqlite")
    Timestamps(checkpoints.engine).add(genuine)
    with checkpoints.engine.begin() as connection, pytest.raises(DatabaseError, match="only ever added"):
        connection.exec_driver_sql(statement)
    assert Timestamps(checkpoints.engine).all() == [genuine]
    checkpoints.close()


@pytest.mark.parametrize("change", ["size = 'many'", "token = 'text'", "time = 'noon'", "text = x'ff'"])
def test_a_store_that_was_changed_by_hand_says_so(tmp_path: Path, genuine: Timestamp, change: str) -> None:
    checkpoints = Checkpoints.at(tmp_path / "checkpoints.sqlite")
    store = Timestamps(checkpoints.engine)
    store.add(genuine)
    with checkpoints.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER timestamps_no_update")
        connection.exec_driver_sql("UPDATE timestamps SET " + change)  # noqa: S608 - one of the four above
    with pytest.raises(EvidenceError, match="timestamps were changed"):
        store.all()
    checkpoints.close()


def test_an_authority_that_lags_behind_the_log_shows(store: Timestamps, genuine: Timestamp) -> None:
    asked, retired = Authority("tsa-1", "https://tsa.example/", ()), Authority("tsa-2", "", ())
    timestamping = Timestamping(HOUR, (asked, retired))
    assert list(overdue(store, timestamping, 5, THEN)) == [
        "tsa-1 (https://tsa.example/) has not stamped any checkpoint yet"
    ]
    store.add(genuine)
    assert list(overdue(store, timestamping, 9, THEN + 2 * HOUR)) == []
    assert list(overdue(store, timestamping, 5, THEN + 3 * HOUR)) == []
    assert list(overdue(store, timestamping, 9, THEN + 3 * HOUR)) == [
        "tsa-1 (https://tsa.example/) has not stamped a checkpoint since 2024-06-01T00:00:00.000000Z, 4 entries ago"
    ]
