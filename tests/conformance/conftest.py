"""A published log, and a large one, made once for all strangers."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.audit.log import Log
from tests.conformance.exhibits import Published
from tests.synthetic_log import found, grow

DEEP = 65_540


@pytest.fixture(scope="package")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """A notary's log of 1,100 entries, published."""
    published = Published(tmp_path_factory.mktemp("published"))
    yield published
    published.office.notary.close()


@pytest.fixture(scope="package")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    """A log whose tree has a third level of tiles."""
    directory: Path = tmp_path_factory.mktemp("deep")
    found(directory)
    grow(directory, DEEP, batch=5_000, entry_bytes=0)
    log = Log.at(directory / "audit" / "log.sqlite", read_only=True)
    yield log
    log.close()


@pytest.fixture
def chance() -> random.Random:
    """The same choices in every run."""
    return random.Random(20260304)
