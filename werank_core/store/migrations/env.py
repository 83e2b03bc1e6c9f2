"""Runs the migrations inside the transaction that `open_store` began; there is no other way in."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
