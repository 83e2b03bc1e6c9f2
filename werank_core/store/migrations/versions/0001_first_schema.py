"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "job",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("experiment", sa.String(40), nullable=False),
        sa.Column("run_ids", sa.JSON(), nullable=False),
        sa.Column("configs", sa.JSON(), nullable=False),
        sa.Column("shape", sa.String(16), nullable=False),
        sa.Column("num_steps", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lost", sa.Integer(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("worker", sa.String(120)),
        sa.Column("device", sa.String(60)),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("log", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Float()),
        sa.Column("finished_at", sa.Float()),
        sa.Column("heartbeat_at", sa.Float()),
        sa.Column("lease_until", sa.Float()),
        sa.PrimaryKeyConstraint("id", name="pk_job"),
    )
    op.create_index("ix_job_queue", "job", ["state", "created_at", "position"])
    op.create_index("ix_job_shape", "job", ["shape", "finished_at"])
    op.create_table(
        "layout",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("columns", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_layout"),
    )
    op.create_table(
        "machine",
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("devices", sa.String(120), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_machine"),
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_meta"),
    )
    op.create_table(
        "sweep",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("experiment", sa.String(40), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("second_axis", sa.String(60)),
        sa.Column("code_version", sa.String(40), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sweep"),
    )
    op.create_index("ix_sweep_created_at", "sweep", ["created_at"])
    op.create_table(
        "run",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("experiment", sa.String(40), nullable=False),
        sa.Column("dataset", sa.String(60), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("differs", sa.Text(), nullable=False),
        sa.Column("strength", sa.Float(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("num_steps", sa.Integer(), nullable=False),
        sa.Column("code_version", sa.String(40), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(60)),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("traceback", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("started_at", sa.Float()),
        sa.Column("finished_at", sa.Float()),
        sa.Column("job_id", sa.String(16)),
        sa.Column("layout_id", sa.String(16)),
        sa.Column("final", sa.LargeBinary()),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_run_job_id_job"),
        sa.ForeignKeyConstraint(["layout_id"], ["layout.id"], name="fk_run_layout_id_layout"),
        sa.PrimaryKeyConstraint("id", name="pk_run"),
    )
    op.create_index("ix_run_created_at", "run", ["created_at"])
    op.create_index("ix_run_job_id", "run", ["job_id"])
    op.create_index("ix_run_state", "run", ["state"])
    op.create_table(
        "array",
        sa.Column("run_id", sa.String(16), nullable=False),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("shape", sa.JSON(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_array_run_id_run", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "name", "step", "layer", name="pk_array"),
    )
    op.create_table(
        "history",
        sa.Column("run_id", sa.String(16), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("layout_id", sa.String(16), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["layout_id"], ["layout.id"], name="fk_history_layout_id_layout"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_history_run_id_run", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "step", name="pk_history"),
    )
    op.create_table(
        "history_block",
        sa.Column("run_id", sa.String(16), nullable=False),
        sa.Column("layout_id", sa.String(16), nullable=False),
        sa.Column("steps", sa.LargeBinary(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["layout_id"], ["layout.id"], name="fk_history_block_layout_id_layout"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_history_block_run_id_run", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", name="pk_history_block"),
    )
    op.create_table(
        "sweep_run",
        sa.Column("sweep_id", sa.String(16), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(16), nullable=False),
        sa.Column("second_value", sa.Float()),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_sweep_run_run_id_run", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweep.id"], name="fk_sweep_run_sweep_id_sweep", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("sweep_id", "position", name="pk_sweep_run"),
    )
    op.create_index("ix_sweep_run_run_id", "sweep_run", ["run_id"])
    op.execute("INSERT INTO meta (name, number) VALUES ('revision', 0)")


def downgrade() -> None:
    op.drop_index("ix_sweep_run_run_id", table_name="sweep_run")
    op.drop_table("sweep_run")
    op.drop_table("history_block")
    op.drop_table("history")
    op.drop_table("array")
    op.drop_index("ix_run_state", table_name="run")
    op.drop_index("ix_run_job_id", table_name="run")
    op.drop_index("ix_run_created_at", table_name="run")
    op.drop_table("run")
    op.drop_index("ix_sweep_created_at", table_name="sweep")
    op.drop_table("sweep")
    op.drop_table("meta")
    op.drop_table("machine")
    op.drop_table("layout")
    op.drop_index("ix_job_shape", table_name="job")
    op.drop_index("ix_job_queue", table_name="job")
    op.drop_table("job")
