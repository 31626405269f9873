"""Alembic's environment: it runs in a transaction that the caller has begun, and goes wherever the caller is."""

from alembic import context

_given = context.config.attributes
context.configure(
    connection=_given["connection"],
    version_table=_given["version_table"],
    transactional_ddl=True,
    target_metadata=None,
)
context.run_migrations()
