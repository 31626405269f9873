"""Where a log is published: a directory, or a bucket at S3, Google or Azure, through one interface (obstore)."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from shared.words import TrailError

CHECKPOINT: Final = "checkpoint"
_BUCKETS: Final = ("s3://", "gs://", "az://")
_AS_TEXT: Final = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "max-age=5"}
_AS_TILE: Final = {
    "Content-Type": "application/octet-stream",
    "Cache-Control": "public, max-age=31536000, immutable",
}
_Attributes = Mapping[str, str]


def store_at(target: str, *, read_only: bool = False) -> "TileStore":
    """Open the place to publish to: a directory's path, or an ``s3://``, ``gs://`` or ``az://`` URL.

    A directory is made if it is not there (unless read only). A bucket's credentials and endpoint come from the
    environment (``AWS_…``, ``GOOGLE_…``, ``AZURE_…``); one that cannot be reached shows on first use.
    Raises TrailError when the place cannot be opened.
    """
    try:
        if target.startswith(_BUCKETS):
            # Options for its HTTP client are left alone: given any, obstore forgets those of the environment.
            patience = timedelta(seconds=30)
            bucket = from_url(target, retry_config={"max_retries": 2, "retry_timeout": patience})
            return TileStore(bucket, target)
        if "://" in target:
            raise TrailError(f"tiles cannot be published at {target}: name a directory, s3://, gs:// or az://")
        if read_only and not Path(target).is_dir():
            raise TrailError(f"there is no directory {target}")
        return TileStore(LocalStore(Path(target).absolute(), mkdir=True), target)
    except (BaseError, OSError) as error:
        raise _trouble(f"tiles cannot be published at {target}", error) from error


class TileStore:
    """Where a log is published, by path below ``name``.

    Every method raises TrailError when the place cannot be reached or refuses.
    """

    def __init__(self, store: ObjectStore, name: str) -> None:
        self.name = name
        self._store = store
        self._directory = store.prefix if isinstance(store, LocalStore) else None
        self._settled: set[Path] = set()

    def read(self, path: str) -> bytes | None:
        """What stands at a path; None when nothing does."""
        with self._told(f"{path} at {self.name} cannot be read"):
            try:
                return bytes(self._store.get(path).bytes())
            except FileNotFoundError:
                return None

    def create(self, path: str, content: bytes) -> bool:
        """Write what must never change; False when something stands there already."""
        with self._told(f"{path} cannot be published at {self.name}"):
            try:
                self._store.put(path, content, mode="create", attributes=self._attributes(_AS_TILE))
            except AlreadyExistsError:
                created = False
            else:
                created = True
            self._settle(path)  # also what an earlier try wrote: it may have been cut off before this
            return created

    def write(self, path: str, content: bytes) -> None:
        """Write whatever stood there."""
        attributes = _AS_TEXT if path == CHECKPOINT else _AS_TILE
        with self._told(f"{path} cannot be published at {self.name}"):
            self._store.put(path, content, attributes=self._attributes(attributes))
            self._settle(path)

    def paths(self, prefix: str) -> list[str]:
        """Every path below a prefix that ends where a part of a path ends."""
        with self._told(f"{self.name} cannot be listed"):
            return [found["path"] for found in self._store.list(prefix).collect()]

    def remove(self, paths: list[str]) -> None:
        """Delete what stands at these paths, if anything does."""
        with self._told(f"{self.name} deletes nothing"), suppress(FileNotFoundError):
            self._store.delete(paths)

    def _attributes(self, attributes: _Attributes) -> dict[str, str] | None:
        return None if self._directory is not None else dict(attributes)  # files have none

    def _settle(self, path: str) -> None:
        """Bring a new file to the disk, as a bucket does by itself: a power cut must not empty it again."""
        if self._directory is None:
            return
        at = Path(self._directory) / path
        _sync(at)
        for directory in at.parents[: len(Path(path).parts)]:
            with suppress(OSError):  # not every file system can
                _sync(directory)
            if directory in self._settled:  # then it stands in the one above for good
                break
            self._settled.add(directory)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError, NotImplementedError) as error:
            raise _trouble(what, error) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _trouble(what: str, error: BaseException) -> TrailError:
    return TrailError(f"{what}: {str(error).partition(chr(10))[0]}")  # below the first line it is debug output
