"""A database is the file at its path, whatever the path is called, and a reader never makes one."""

from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from shared.database import sqlite


@pytest.mark.parametrize("name", ["plain", "a b", "#1", "50%41", "why?x=1", "größe", "a&mode=rwc"])
def test_a_path_with_signs_that_mean_something_in_a_url_is_that_path(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "log.sqlite"
    engine = sqlite(path)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE kept (one INTEGER)"))
    engine.dispose()
    assert path.exists()
    reader = sqlite(path, read_only=True)
    with reader.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM kept")).scalar() == 0
        with pytest.raises(DatabaseError, match="readonly"):
            connection.execute(text("INSERT INTO kept VALUES (1)"))
    reader.dispose()
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_a_reader_makes_no_database_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError), sqlite(tmp_path / "none.sqlite", read_only=True).connect():
        pass
    assert list(tmp_path.iterdir()) == []
