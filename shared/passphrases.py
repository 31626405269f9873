"""What a person's passphrase must be (21 CFR 11.300; NIST SP 800-63B section 5.1.1.2).

Long rather than twisted: there is no rule about digits and signs, which people meet with ``Password1!``. What is
asked is that it takes too many guesses for whoever has stolen the key file. zxcvbn judges that: it knows the common
passwords, names, words, dates and keyboard patterns, and what they become with a 0 for an o.
"""

import unicodedata
from typing import Final

from zxcvbn import zxcvbn

from shared.words import RefusedError

LEAST_LENGTH: Final = 12
MOST_LENGTH: Final = 1000
_LEAST_GUESSES_LOG10: Final = 10.0
"""Ten thousand million guesses: at half a second each (shared.key_files.USUAL) 150 years of one core."""
_JUDGED: Final = 72
"""Characters that zxcvbn takes at most; what comes after them only makes a passphrase better."""
_UNTYPABLE: Final = {
    "Cc": "a control character",
    "Cs": "half a character",
    "Cn": "a character that does not exist yet",
}
_LEAST_NAME: Final = 3
"""Parts of a name that are shorter than this are in too many words."""


def normalised(passphrase: str) -> bytes:
    """The bytes of a passphrase, the same on every keyboard and system: NFC, UTF-8 (RFC 8265 section 4.2).

    Raises RefusedError when it holds what no keyboard gives.
    """
    for character in passphrase:
        wrong = _UNTYPABLE.get(unicodedata.category(character))
        if wrong is not None:
            raise RefusedError(f"the passphrase holds {wrong}; type it with letters, digits, signs and spaces")
    return unicodedata.normalize("NFC", passphrase).encode()


def check_passphrase(passphrase: str, user: str, holder: str) -> None:
    """Judge a new passphrase of the person with this user id and printed name.

    Raises RefusedError with a sentence that says what to do; never with the passphrase in it.
    """
    text = normalised(passphrase).decode()
    if len(text) < LEAST_LENGTH:
        raise RefusedError(
            f"the passphrase has {len(text)} characters and needs {LEAST_LENGTH}; take four or five words that do "
            "not belong together"
        )
    if len(text) > MOST_LENGTH:
        raise RefusedError(f"the passphrase is longer than {MOST_LENGTH} characters; take a shorter one")
    own = [user, holder, *(part for part in holder.split() if len(part) >= _LEAST_NAME)]
    folded = _folded(text)
    for part in filter(None, own):
        if _folded(part) in folded:
            raise RefusedError(f"the passphrase holds {part!r}, which everybody knows of you; leave it out")
    judged = zxcvbn(text[:_JUDGED], user_inputs=own)
    if judged["guesses_log10"] < _LEAST_GUESSES_LOG10:
        reasons = [judged["feedback"]["warning"].rstrip("."), *judged["feedback"]["suggestions"]]
        hint = "; ".join(reason.rstrip(".") for reason in reasons if reason)
        raise RefusedError(
            f"the passphrase can be guessed ({hint or 'it is a pattern'}); take four or five words that do not "
            "belong together"
        )


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
