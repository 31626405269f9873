"""A reader of a published log, written from c2sp.org/tlog-tiles and RFC 6962 section 2.1 and from nothing of ours.

Of ours it uses the log's key and the check of a signed note alone.
"""

import base64
import hashlib
from collections.abc import Mapping

from shared.note import open_note
from tests.notary import LOG_KEY


def path_in_specification(kind: str, n: int, width: int) -> str:
    digits = f"{n:03}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    place = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
    return f"tile/{kind}/{place}" + (f".p/{width}" if width < 256 else "")


def mth(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def fetch(files: Mapping[str, bytes], kind: str, n: int, width: int) -> bytes:
    """A tile or bundle; the full one as a fallback for a partial one, as the specification allows."""
    found = files.get(path_in_specification(kind, n, width))
    return files[path_in_specification(kind, n, 256)] if found is None else found


def split_bundle(bundle: bytes, width: int) -> list[bytes]:
    entries = []
    for _ in range(width):
        length = int.from_bytes(bundle[:2], "big")
        assert len(bundle) >= 2 + length
        entries.append(bundle[2 : 2 + length])
        bundle = bundle[2 + length :]
    return entries


def read_published(files: Mapping[str, bytes]) -> list[bytes]:
    """Every entry of a published log, checked against its tiles and its checkpoint."""
    text = open_note(files["checkpoint"].decode(), LOG_KEY)
    origin, size_line, root = text.split("\n")[:3]
    size = int(size_line)
    assert origin == LOG_KEY.name
    entries: list[bytes] = []
    for n in range(-(-size // 256)):
        width = min(256, size - n * 256)
        entries += split_bundle(fetch(files, "entries", n, width), width)
    leaves = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]
    level = 0
    while count := size // 256**level:
        span = 256**level
        for n in range(-(-count // 256)):
            width = min(256, count - n * 256)
            tile = fetch(files, str(level), n, width)
            for i in range(width):
                start = (n * 256 + i) * span
                assert tile[32 * i : 32 * i + 32] == mth(leaves[start : start + span])
        level += 1
    assert mth(leaves) == base64.b64decode(root)
    return entries
