"""What a person's passphrase must be, and that a refusal says what to do and never repeats it."""

import unicodedata

import pytest

from shared.passphrases import check_passphrase, normalised
from shared.words import RefusedError

USER, HOLDER = "a.ivanova", "Anna Ivanova"


@pytest.mark.parametrize(
    "passphrase",
    [
        "correct mule battery staple",
        "grün wie die Bäume am Fluss",
        "七月的雨落在旧屋顶上没有声音",
        "x7#Qm2!vTz9k",
        "w" + "1q" * 3 + "harbour ladder quince",
        "lantern oyster gravel " * 20,
    ],
)
def test_words_that_do_not_belong_together_will_do_in_any_script(passphrase: str) -> None:
    check_passphrase(passphrase, USER, HOLDER)


@pytest.mark.parametrize(
    ("passphrase", "sentence"),
    [
        ("x7#Qm2!vTz9", "has 11 characters and needs 12"),
        ("", "has 0 characters and needs 12"),
        ("é" * 6 + "x7#Qm", "has 11 characters"),
        ("aaaaaaaaaaaaaaaa", "can be guessed .*Repeats like"),
        ("abcabcabcabcabc", "can be guessed"),
        ("abcdefghijklmnop", "can be guessed .*Sequences like"),
        ("9876543210987654", "can be guessed"),
        ("qwertyuiopasdfgh", "can be guessed"),
        ("passwordpassword", "can be guessed"),
        ("P@ssw0rd123456", "can be guessed"),
        ("Password123456!", "can be guessed"),
        ("letmein19911991", "can be guessed"),
        ("harbour A.Ivanova quince", "holds 'a.ivanova', which everybody knows of you"),
        ("harbour ANNA ladder quince", "holds 'Anna'"),
        ("harbour ivanova ladder", "holds 'Ivanova'"),
        ("harbour\tladder quince", "a control character"),
        ("harbour \ud800 ladder quince", "half a character"),
        ("harbour \u0378 ladder quince", "a character that does not exist yet"),
        ("lantern oyster gravel " * 46, "longer than 1000 characters"),
    ],
)
@pytest.mark.part11("11.300(b)")
def test_a_weak_passphrase_is_refused_with_what_to_do(passphrase: str, sentence: str) -> None:
    with pytest.raises(RefusedError, match=sentence) as refused:
        check_passphrase(passphrase, USER, HOLDER)
    assert len(passphrase) < 3 or passphrase not in str(refused.value)


def test_length_is_counted_after_normalisation() -> None:
    decomposed = unicodedata.normalize("NFD", "é" * 4 + "ö" * 4)
    assert len(decomposed) == 16
    with pytest.raises(RefusedError, match="has 8 characters"):
        check_passphrase(decomposed, USER, HOLDER)


def test_a_passphrase_is_the_same_on_every_keyboard() -> None:
    composed = "grün wie die Bäume am Fluss"
    assert normalised(unicodedata.normalize("NFD", composed)) == normalised(composed) == composed.encode()


def test_a_holder_whose_name_is_short_may_use_words_that_hold_a_part_of_it() -> None:
    check_passphrase("already lantern oyster gravel", "liu", "Al Re")
    with pytest.raises(RefusedError, match="holds 'Al Re'"):
        check_passphrase("lantern al re oyster gravel", "liu", "Al Re")
