"""What losses and prices are judged by: how far a job got, and how many steps its seconds went into."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("job", sa.Column("silent", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("job", sa.Column("reached", sa.Integer()))
    op.add_column("job", sa.Column("run_steps", sa.BigInteger()))
    op.add_column("job", sa.Column("attempt_seconds", sa.Float()))
    op.add_column("job", sa.Column("attempt_steps", sa.Integer()))


def downgrade() -> None:
    for name in ("attempt_steps", "attempt_seconds", "run_steps", "reached", "silent"):
        op.drop_column("job", name)
