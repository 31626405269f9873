"""Checking many Ed25519 signatures at once: verification leaves the interpreter lock, so every core counts."""

import base64
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from services.audit.admission import Reading, SignatureCheck
from services.audit.register import Register
from shared.signing import key_id, verify_event

_GRANT = "trialtrail.identity.granted.v1"


class SignatureChecker:
    """Checks batches of signatures in threads, ahead of the ruling that will ask for them.

    Only a saving of time: an answer is about exactly (key, signature, bytes), so it can be prepared for keys
    that are merely *claimed* by a grant further up, and what was not prepared is checked when asked for.
    """

    def __init__(self) -> None:
        self._workers = os.cpu_count() or 2
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="verify")
        self._publics: dict[str, bytes] = {}

    def begin(self, register: Register, readings: Sequence[Reading]) -> SignatureCheck:
        """Begin to check a batch; the answer waits for the threads when it is first asked."""
        self._learn(register, readings)
        tasks = []
        for reading in readings:
            public = self._publics.get(reading.arrival.key)
            if public is not None and reading.signature is not None:
                tasks.append((public, reading.signature, reading.arrival.payload))
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

    def _learn(self, register: Register, readings: Sequence[Reading]) -> None:
        if len(self._publics) < len(register.identities):
            self._publics |= {one.key: one.public for one in register.identities.values()}
        for reading in readings:
            if reading.envelope is not None and reading.envelope.type == _GRANT:
                try:
                    public = base64.b64decode(reading.envelope.data["public_key"], validate=True)
                except (KeyError, TypeError, ValueError):
                    continue  # admission will say what is wrong with it
                self._publics.setdefault(key_id(public), public)


def _check(tasks: Sequence[tuple[bytes, bytes, bytes]]) -> list[tuple[tuple[bytes, bytes, bytes], bool]]:
    return [(task, verify_event(*task)) for task in tasks]
