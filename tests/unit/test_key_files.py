"""A person's key file: two components open it, and nothing else does, in no changed form of it (21 CFR 11.200)."""

import json
import time
import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import cache

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shared.attempts import AccessError
from shared.key_files import LEAST, USUAL, Cost, KeyFile, read_key_file, seal, unseal
from shared.passphrases import check_passphrase
from shared.signing import SigningKey
from shared.words import RefusedError, TrailError

CHEAP = Cost(n=2)
NOW = datetime(2026, 3, 4, 9, 0, tzinfo=UTC)
USER, HOLDER = "a.ivanova", "Anna Ivanova"
PHRASE = "harbour ladder quince tomorrow"
KEY = SigningKey.from_seed(b"a" * 32)
TYPED = st.characters(exclude_categories=["Cc", "Cs", "Cn"])


@cache
def file() -> KeyFile:
    return seal(KEY, USER, HOLDER, PHRASE, NOW, cost=CHEAP)


def opened(text: bytes, user: str = USER, passphrase: str = PHRASE) -> SigningKey:
    return unseal(read_key_file(text, "anna.key"), user, passphrase, least=CHEAP)


@settings(deadline=None, max_examples=60)
@given(st.lists(TYPED, min_size=14, max_size=40, unique=True).map("".join), st.binary(min_size=32, max_size=32))
def test_whatever_passphrase_is_accepted_opens_what_it_sealed(passphrase: str, seed: bytes) -> None:
    try:
        check_passphrase(passphrase, USER, HOLDER)
    except RefusedError:
        assume(False)
    known = seal(SigningKey.from_seed(seed), USER, HOLDER, passphrase, NOW, cost=CHEAP)
    for typed in (passphrase, unicodedata.normalize("NFD", passphrase)):
        assert opened(known.text().encode(), passphrase=typed).seed == seed


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_a_file_with_any_byte_changed_opens_nothing(data: st.DataObject) -> None:
    text = bytearray(file().text().encode())
    at = data.draw(st.integers(0, len(text) - 1))
    text[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != text[at]))
    with pytest.raises(TrailError):
        opened(bytes(text))


@pytest.mark.parametrize(
    "change",
    [
        {"user": "b.petrov"},
        {"holder": "Boris Petrov"},
        {"expires": date(2036, 3, 4)},
        {"made_at": "2026-03-05T09:00:00.000000Z"},
        {"scrypt": Cost(n=4)},
        {"scrypt": Cost(n=2, p=2)},
        {"public_key": seal(SigningKey.from_seed(b"b" * 32), USER, HOLDER, PHRASE, NOW, cost=CHEAP).public_key},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_a_file_says_beside_the_secret_cannot_be_swapped(change: dict[str, object]) -> None:
    forged = file().model_copy(update=change)
    with pytest.raises(AccessError, match="the passphrase is wrong, or the key file was changed"):
        opened(forged.text().encode(), forged.user)


@pytest.mark.part11("11.200(a)(1)")
def test_a_file_moved_to_another_user_id_is_refused_before_a_passphrase_is_tried() -> None:
    with pytest.raises(TrailError, match=r"this key file is not that of b\.petrov") as refused:
        opened(file().text().encode(), "b.petrov")
    assert not isinstance(refused.value, AccessError)


@pytest.mark.parametrize("wrong", ["", PHRASE.upper(), PHRASE + " ", "\ud800", "harbour ladder quince yesterday"])
@pytest.mark.part11("11.200(a)(1)")
def test_any_other_passphrase_opens_nothing(wrong: str) -> None:
    with pytest.raises(AccessError, match="the passphrase is wrong"):
        opened(file().text().encode(), passphrase=wrong)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda text: text[:-1],
        lambda text: text + b"\n",
        lambda text: text.replace(b"  ", b" "),
        lambda text: json.dumps(json.loads(text)).encode(),
        lambda text: text.replace(b'  "user"', b'  "user": "b.petrov",\n  "user"'),
        lambda _: b"-----BEGIN PRIVATE KEY-----\n",
        lambda text: text.replace(b'"n": 2,', b'"n": 1073741824,'),
    ],
)
def test_a_file_that_trail_did_not_write_so_is_refused_with_a_sentence(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(TrailError, match=r"anna\.key is not a person's key file, or was changed; restore it"):
        opened(spoil(file().text().encode()))


def test_a_file_that_makes_guessing_cheap_is_refused_unless_the_caller_says_so() -> None:
    for cost in (CHEAP, Cost(n=1 << 15), Cost(n=1 << 16, r=4), Cost(n=1 << 15, p=2)):
        with pytest.raises(TrailError, match=r"makes guessing too cheap .* do not type your passphrase"):
            unseal(file().model_copy(update={"scrypt": cost}), USER, PHRASE)
    assert USUAL.covers(LEAST)


def test_a_guess_at_a_usual_file_costs_memory_and_a_tenth_of_a_second_at_least() -> None:
    known = seal(KEY, USER, HOLDER, PHRASE, NOW)
    assert 128 * known.scrypt.n * known.scrypt.r >= 64 << 20, "bytes of memory"
    began = time.perf_counter()
    assert unseal(known, USER, PHRASE).public == KEY.public
    assert time.perf_counter() - began > 0.1


def test_a_file_says_in_the_clear_whose_key_it_is_and_never_the_secret() -> None:
    text = file().text()
    assert (file().user, file().holder, file().id) == (USER, HOLDER, KEY.id)
    assert PHRASE not in text
    assert KEY.seed.hex() not in text
    assert seal(KEY, USER, HOLDER, PHRASE, NOW, cost=CHEAP).text() != text, "salt and nonce are drawn anew"


@pytest.mark.part11("11.300(b)")
def test_a_passphrase_is_good_for_a_year_and_through_its_last_day() -> None:
    assert file().expires == date(2027, 3, 4)
    last = datetime(2027, 3, 4, 23, 59, tzinfo=UTC)
    assert not file().expired(last)
    assert file().expired(last + timedelta(minutes=1))
    assert seal(KEY, USER, HOLDER, PHRASE, NOW, expires=date(2026, 6, 1), cost=CHEAP).expires == date(2026, 6, 1)


@pytest.mark.parametrize("user", ["", "a ivanova", "a/ivanova", "a\nivanova", "-ivanova", "A.Ivanova", "a" * 33])
def test_a_user_id_is_one_plain_word(user: str) -> None:
    with pytest.raises(RefusedError, match="the user of the key cannot be"):
        seal(KEY, user, HOLDER, PHRASE, NOW, cost=CHEAP)


def test_no_key_is_sealed_with_a_weak_passphrase() -> None:
    with pytest.raises(RefusedError, match="needs 12"):
        seal(KEY, USER, HOLDER, "short", NOW, cost=CHEAP)
