"""Checking many Ed25519 signatures at once: verification leaves the interpreter lock, so every core counts."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from services.audit.admission import Reading, SignatureCheck
from services.audit.register import Register
from shared.entry import signature_bytes
from shared.signing import verify_event
from shared.words import KeyId

WORKERS = os.cpu_count() or 2


def pool() -> ThreadPoolExecutor:
    """Threads to check signatures with."""
    return ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="verify")


def checked_beforehand(
    register: Register, readings: Sequence[Reading], workers: ThreadPoolExecutor
) -> SignatureCheck:
    """Begin to check a batch's signatures on all cores; the answer waits for them when first asked.

    A key granted within the batch is not known yet here; its signatures are checked when they are met.
    """
    tasks = []
    for reading in readings:
        identity = register.identities.get(KeyId(reading.arrival.key))
        signature = signature_bytes(reading.arrival.signature)
        if reading.envelope is not None and identity is not None and signature is not None:
            tasks.append((identity.public, signature, reading.arrival.payload))
    shares = [workers.submit(_check, tasks[at::WORKERS]) for at in range(WORKERS)]
    known: dict[tuple[bytes, bytes, bytes], bool] = {}

    def holds(public: bytes, signature: bytes, payload: bytes) -> bool:
        while shares:
            known.update(shares.pop().result())
        result = known.get((public, signature, payload))
        return verify_event(public, signature, payload) if result is None else result

    return holds


def _check(tasks: Sequence[tuple[bytes, bytes, bytes]]) -> list[tuple[tuple[bytes, bytes, bytes], bool]]:
    return [(task, verify_event(*task)) for task in tasks]
