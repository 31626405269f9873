"""One trial is played once; every attack gets a copy of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli import reading
from services.cli.installation import Installation
from tests.attacks.scene import Trial, copied, played, running


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A data directory of a trial that has come to rest; nothing runs on it. Look at it, and change a copy."""
    return played(tmp_path_factory.mktemp("original") / "trial")


@pytest.fixture
def older(original: Installation) -> Path:
    """The back-up of its log and checkpoints, before its last three entries."""
    return original.directory.parent / "older"


@pytest.fixture
def home(original: Installation, tmp_path: Path) -> Installation:
    """A copy of it."""
    return copied(original, tmp_path / "trial")


@pytest.fixture
def trial(home: Installation) -> Iterator[Trial]:
    """The same with the stack running."""
    with running(home) as made:
        yield made


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """`trail verify` waits some seconds for what a running notary may just be doing; here it never is."""
    monkeypatch.setattr(reading, "_SEALING_PATIENCE", 0.3)
    monkeypatch.setattr(reading, "_COSIGNING_PATIENCE", 0.3)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mounting an attack takes a stack of its own, so `make test-all` does it; the table is checked always."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.name != "test_table.py":
            item.add_marker(pytest.mark.slow)
