"""What of a draft is personal, and the draft as it leaves the house: its personal texts encrypted.

Free text about a participant is personal, unless the draft says that nothing in it is. In a log of synthetic data
it is not, unless the draft marks it.
What the trial computes with (dates, values, names of drugs and terms) is never encrypted: deciders must read it.
"""

import os
from collections.abc import Sequence
from typing import Final

from shared.drafts import Draft
from shared.events import short_type
from shared.free_text import free_texts, with_texts
from shared.privacy_keys import PrivacyKeys, Random
from shared.private_text import RANDOM_BYTES, PrivateText, check_length, encrypt, is_private
from shared.words import ParticipantId, RefusedError

_READABLE: Final = ("privacy.",)
"""An order to erase must stay readable after it was carried out."""

_TO_OTHERS: Final = ("review.",)
"""Questions and answers between monitor and site, who each have keys of their own: private only where marked."""


class PrivateDrafts:
    """The personal part of drafts, under the keys of one data directory.

    ``by_default``: free text about a participant is personal without being marked.
    """

    def __init__(self, keys: PrivacyKeys, trial: str, *, by_default: bool, random: Random = os.urandom) -> None:
        self._keys = keys
        self._trial = trial
        self._by_default = by_default
        self._random = random

    def check(self, draft: Draft) -> None:
        """Raise RefusedError when a personal text cannot be encrypted: it is too long, or its key was destroyed."""
        personal = self._personal(draft)
        for path, text in personal.items():
            try:
                check_length(text)
            except RefusedError as error:
                raise RefusedError(f"data.{path} {error}") from None
        if personal:
            self._keys.check_not_erased(_participant(draft))

    def fingerprints(self, draft: Draft) -> Sequence[str]:
        """Under which names an outbox may know this draft already; it is kept under the first.

        A plain digest of a personal text would outlive its erasure, and a short text could be found by trying; so
        a draft that has one is known under its participant's key.
        """
        if not self._personal(draft):
            return (draft.digest(),)
        # The second is how an outbox from before texts were encrypted knows it; it is only looked up.
        return self._keys.make(_participant(draft)).fingerprint(draft.content()), draft.digest()

    def encrypted(self, draft: Draft) -> Draft:
        """The draft with its personal texts encrypted; the key is on disk when this returns."""
        personal = self._personal(draft)
        if not personal:
            return draft
        participant = _participant(draft)
        key = self._keys.make(participant)
        sealed = {
            path: encrypt(text, key, self._trial, participant, self._random(RANDOM_BYTES)).value()
            for path, text in personal.items()
        }
        return draft.model_copy(update={"data": with_texts(draft.data, sealed), "private": []})

    def _personal(self, draft: Draft) -> dict[str, str]:
        """The readable texts of a draft that must not be sealed readable, by path."""
        type_ = short_type(draft.event_type.name)
        if draft.subject is None or draft.private is False or type_.startswith(_READABLE):
            return {}
        texts = free_texts(draft.event_type.model, draft.data)
        usual = (
            self._by_default and draft.source.startswith(("site/", "sponsor/")) and not type_.startswith(_TO_OTHERS)
        )
        wanted = texts if usual else draft.marked()
        personal = {}
        for path in wanted:
            if is_private(texts[path]):
                PrivateText.parse(texts[path])  # encrypted by the sender
            else:
                personal[path] = texts[path]
        return personal


def _participant(draft: Draft) -> ParticipantId:
    assert draft.subject is not None
    return ParticipantId(draft.subject)
