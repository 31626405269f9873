"""Checking many Ed25519 signatures at once: verification leaves the interpreter lock, so every core counts."""

import base64
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from services.audit.admission import SignatureCheck
from services.audit.register import Register
from shared.entry import Arrival, signature_bytes
from shared.envelope import read_envelope
from shared.signing import key_id, verify_event
from shared.words import RefusedError


class SignatureChecker:
    """Checks batches of signatures in threads, ahead of the ruling that will ask for them.

    Only a saving of time: an answer is about exactly (key, signature, bytes), so it can be prepared for keys
    that are merely *claimed* by a grant further up, and what was not prepared is checked when asked for.
    """

    def __init__(self) -> None:
        self._workers = os.cpu_count() or 2
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="verify")
        self._publics: dict[str, bytes] = {}

    def begin(self, register: Register, arrivals: Sequence[Arrival]) -> SignatureCheck:
        """Begin to check a batch; the answer waits for the threads when it is first asked."""
        self._learn(register, arrivals)
        tasks = []
        for arrival in arrivals:
            public = self._publics.get(arrival.key)
            signature = None if public is None else signature_bytes(arrival.signature)
            if public is not None and signature is not None:
                tasks.append((public, signature, arrival.payload))
        shares = [self._pool.submit(_check, tasks[at :: self._workers]) for at in range(self._workers)]
        known: dict[tuple[bytes, bytes, bytes], bool] = {}

        def holds(public: bytes, signature: bytes, payload: bytes) -> bool:
            while shares:
                known.update(shares.pop().result())
            result = known.get((public, signature, payload))
            return verify_event(public, signature, payload) if result is None else result

        return holds

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _learn(self, register: Register, arrivals: Sequence[Arrival]) -> None:
        if len(self._publics) < len(register.identities):
            self._publics |= {one.key: one.public for one in register.identities.values()}
        for arrival in arrivals:
            if arrival.subject.endswith(".identity.granted"):
                try:
                    public = base64.b64decode(read_envelope(arrival.payload).data["public_key"], validate=True)
                except (RefusedError, KeyError, TypeError, ValueError):
                    continue  # admission will say what is wrong with it
                self._publics.setdefault(key_id(public), public)


def _check(tasks: Sequence[tuple[bytes, bytes, bytes]]) -> list[tuple[tuple[bytes, bytes, bytes], bool]]:
    return [(task, verify_event(*task)) for task in tasks]
