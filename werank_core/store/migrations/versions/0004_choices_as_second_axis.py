"""The second axis of a sweep may be a choice, such as the Gram matrix: its value is a word then."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("sweep_run", sa.Column("second_choice", sa.String(60)))
