"""One server of PostgreSQL for the tests of this folder, and a database of it for each test."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.audit.places import Places
from services.cli.databases import create
from shared.database import as_role
from tests.notary import TRIAL
from tests.postgres import GIVEN, Server, database, missing, server

_NUMBERS = itertools.count()
pytest.register_assert_rewrite("tests.stores.suite")


class Cluster:
    """A server and how to get a trial of its own there."""

    def __init__(self, url: str, running: Server | None) -> None:
        self.url = url
        self.server = running

    def begin(self, passwords: Path, trial: str = TRIAL, *, into: str = "") -> "Begun":
        """A trial's roles and tables, in a database of their own or ``into`` another's."""
        owner = into or database(self.url, f"trail{next(_NUMBERS)}")
        return Begun(owner, create(owner, trial, passwords), trial, passwords)


class Begun:
    """A trial's place in a database. ``owner``: a superuser's URL."""

    def __init__(self, owner: str, url: str, trial: str, passwords: Path) -> None:
        self.owner = owner
        self.trial = trial
        self._url = url
        self._passwords = passwords

    def role(self, name: str) -> str:
        """The URL of one of its roles."""
        return as_role(self._url, self.trial, name, self._passwords)

    def places(self, role: str = "notary") -> Places:
        """Its log and checkpoints, as that role."""
        return Places.in_database(self.role(role), self.trial)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if missing():
        pytest.skip(missing())
    if GIVEN:
        yield Cluster(GIVEN, None)
        return
    with server() as running:
        yield Cluster(running.url, running)


@pytest.fixture
def begun(cluster: Cluster, tmp_path: Path) -> Begun:
    """A trial in PostgreSQL."""
    return cluster.begin(tmp_path / "keys")


@pytest.fixture
def another(cluster: Cluster, tmp_path: Path) -> Callable[[str, str], Begun]:
    """Another trial, beside one in its database."""
    return lambda trial, owner: cluster.begin(tmp_path / f"keys-{trial}", trial, into=owner)
