"""A zip whose bytes depend on what is in it and on nothing else, written once and never over another file."""

import hashlib
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from shared.words import TrailError

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can state
_FILE_MODE: Final = 0o100644 << 16
_UNIX: Final = 3


class Archive:
    """Files put into a zip one after the other; ``digests`` holds the SHA-256 (hex) of each by its name."""

    def __init__(self, zip_: zipfile.ZipFile) -> None:
        self._zip = zip_
        self.digests: dict[str, str] = {}

    def add(self, name: str, data: bytes) -> None:
        """Put a whole file in."""
        self._put(name, [data], large=False)

    def stream(self, name: str, parts: Iterable[bytes]) -> None:
        """Put a file in part by part, which may be larger than memory."""
        self._put(name, parts, large=True)

    def _put(self, name: str, parts: Iterable[bytes], *, large: bool) -> None:
        info = zipfile.ZipInfo(name, _EPOCH)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = _FILE_MODE
        info.create_system = _UNIX
        digest = hashlib.sha256()
        with self._zip.open(info, "w", force_zip64=large) as file:
            for part in parts:
                digest.update(part)
                file.write(part)
        self.digests[name] = digest.hexdigest()


@contextmanager
def archive(target: Path) -> Iterator[Archive]:
    """A new zip at ``target``, which appears there whole or not at all.

    Raises TrailError when something is there already.
    """
    if target.exists():
        raise TrailError(f"there is already a file at {target}; name another, or move it away first")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{target.name}.") as directory:
        draft = Path(directory) / target.name
        with zipfile.ZipFile(draft, "w") as zip_:
            yield Archive(zip_)
        draft.replace(target)
