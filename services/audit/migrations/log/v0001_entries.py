"""The log: entries that are only ever added, the tree's full tiles, and what the notary remembers."""

import sqlalchemy as sa
from alembic import op

from shared.migrations.rules import REFUSE_CHANGE, append_only, on_postgresql

revision = "0001"
down_revision = None

TOLD = "the log is append-only"
# A partition holds 2^24 entries, some 20 GB. The owner's function makes the next ones: no writer may do that.
EXTEND_ENTRIES = """
CREATE FUNCTION extend_entries(upto bigint) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = {schema}, pg_temp AS $$
DECLARE
  part bigint;
BEGIN
  LOCK TABLE entries IN SHARE UPDATE EXCLUSIVE MODE;
  SELECT count(*) INTO part FROM pg_inherits WHERE inhparent = 'entries'::regclass;
  WHILE part * 16777216 <= upto LOOP
    EXECUTE format('CREATE TABLE entries_%s PARTITION OF entries FOR VALUES FROM (%s) TO (%s)',
                   part, part * 16777216, (part + 1) * 16777216);
    EXECUTE format('CREATE TRIGGER entries_%s_not_truncated BEFORE TRUNCATE ON entries_%s '
                   'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change(%L)', part, part, '{told}');
    part := part + 1;
  END LOOP;
  RETURN part * 16777216;
END $$
"""


def upgrade() -> None:
    """Make the tables; in a SQLite file from before migrations they are there."""
    if on_postgresql():
        op.execute(REFUSE_CHANGE)
        op.execute(
            "CREATE TABLE entries (idx bigint PRIMARY KEY, ref bigint NOT NULL, entry bytea NOT NULL) "
            "PARTITION BY RANGE (idx)"
        )
        schema = op.get_bind().execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
        op.execute(EXTEND_ENTRIES.format(schema=schema, told=TOLD))
        op.execute("REVOKE ALL ON FUNCTION extend_entries(bigint) FROM PUBLIC")
        op.execute("SELECT extend_entries(0)")
    else:
        op.create_table(
            "entries",
            sa.Column("idx", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("ref", sa.BigInteger, nullable=False),
            sa.Column("entry", sa.LargeBinary, nullable=False),
            if_not_exists=True,
        )
    op.create_index("entries_by_ref", "entries", ["ref"], if_not_exists=True)
    op.create_table(
        "subtrees",
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "register",
        sa.Column("key", sa.String(160), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        if_not_exists=True,
    )
    for table in ("entries", "subtrees"):
        append_only(table, TOLD)
