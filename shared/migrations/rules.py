"""What migrations have in common: append-only tables in both databases."""

from typing import Final

from alembic import op

REFUSE_CHANGE: Final = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'restrict_violation';
END $$
"""
"""A PostgreSQL trigger function that refuses, in the words that it is given."""


def on_postgresql() -> bool:
    """Whether a PostgreSQL database is being brought forward."""
    return op.get_bind().dialect.name == "postgresql"


def append_only(table: str, told: str) -> None:
    """Have the database refuse to change, delete or truncate rows of a table, with these words."""
    if on_postgresql():
        for name, when in (("changed", "UPDATE OR DELETE"), ("truncated", "TRUNCATE")):
            each = "STATEMENT" if name == "truncated" else "ROW"
            op.execute(
                f"CREATE TRIGGER {table}_not_{name} BEFORE {when} ON {table} "
                f"FOR EACH {each} EXECUTE FUNCTION refuse_change('{told}')"
            )
    else:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{told}'); END"
            )
