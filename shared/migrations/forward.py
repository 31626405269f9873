"""Bringing a database forward with Alembic; imported only where that is done."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from shared.migrations import Stored
from shared.words import TrailError


def upgrade(stored: Stored, connection: Connection) -> None:
    """Bring a database forward to this program's revision, within the caller's transaction.

    Raises TrailError when it is at one that this program does not know.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(stored.scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["version_table"] = stored.version_table.name
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise TrailError(
            f"the tables of the {stored.name} cannot be brought forward: {error}. A later version of this program "
            "has changed them: use that one"
        ) from None
