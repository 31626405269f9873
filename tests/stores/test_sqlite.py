"""The stores in SQLite files."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from services.audit.places import Places
from shared.database import Place
from tests.stores.suite import StoresSuite


class TestSqlite(StoresSuite):
    @pytest.fixture
    def places(self, tmp_path: Path) -> Places:
        return Places.in_files(tmp_path / "audit")

    @pytest.fixture
    def reading(self, places: Places) -> Places:
        return places

    @pytest.fixture
    def decider_place(self, tmp_path: Path) -> Place:
        return tmp_path / "screening" / "screening.sqlite"

    def take_away(self, places: Places, table: str, size: int) -> None:
        assert isinstance(places.checkpoints, Path)
        with closing(sqlite3.connect(places.checkpoints)) as database:
            database.execute(f"DROP TRIGGER {table}_no_delete")
            database.execute(f"DELETE FROM {table} WHERE size = {size}")
            database.commit()
