"""How Alembic runs the revisions: on the connection, and in the transaction, that it is handed.

There is no way to run them without one; `roster db upgrade` and `database.upgrade` are the ways in.
"""

from alembic import context

from roster_pipeline.warehouse.database import VERSION_TABLE
from roster_pipeline.warehouse.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
