"""Metric keys say which rows a number is of: "effective_rank" of a toy run becomes "test/effective_rank", and so on.

Until here toy runs recorded test rows, graph runs all nodes and rank collapse training rows under the same names.
"""

import hashlib
import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

Column = tuple[str, str, int]

# What has no rows: weights, the clock, the run. Everything else is of the rows of its experiment.
_WITHOUT_ROWS = {
    "penalty", "weight_effective_rank", "weight_stable_rank", "weight_numerical_rank", "layer_alignment",
    "product_of_spectral_norms", "penalty_cost", "step_seconds", "distance_to_rank", "kept_parameters",
    "centroid_distance", "closed_form_error", "stationary_at",
}  # fmt: skip
_TEST_ROWS = {"accuracy", "macro_f1", "untrained_accuracy", "truncated_accuracy"}
_ROWS = {"toy_ssl": "test", "graph": "all", "rank_collapse": "train"}
_VARIATION = {"total_cluster_variation", "relative_tcv", "layer_tcv", "layer_absolute_tcv"}


def renamed(column: Column, experiment: str, *, kmeans: bool) -> Column:
    """A recorded column under its new key."""
    name, split, layer = column
    if split == "train" or experiment not in _ROWS or name in _WITHOUT_ROWS:
        return column
    rows = "test" if name in _TEST_ROWS else _ROWS[experiment]
    if split == "kmeans" or (kmeans and name in _VARIATION):
        return f"kmeans_{name}", rows, layer
    if experiment == "graph" and name == "response_sensitivity":
        return "feature_sensitivity", rows, layer
    return name, rows, layer


_LAYOUT = sa.table("layout", sa.column("id", sa.String), sa.column("columns", sa.JSON))
_RUN = sa.table(
    "run", sa.column("id", sa.String), sa.column("experiment", sa.String), sa.column("config", sa.JSON),
    sa.column("layout_id", sa.String),
)  # fmt: skip
_RECORDS = [sa.table(name, sa.column("run_id"), sa.column("layout_id")) for name in ("history", "history_block")]
_CHUNK = 5_000


def upgrade() -> None:
    connection = op.get_bind()
    layouts = {row.id: row.columns for row in connection.execute(sa.select(_LAYOUT))}
    kinds: dict[tuple[str, bool], list[str]] = {}
    for row in connection.execute(sa.select(_RUN.c.id, _RUN.c.experiment, _RUN.c.config)):
        kmeans = row.experiment == "rank_collapse" and row.config.get("clusters") == "kmeans"
        kinds.setdefault((row.experiment, kmeans), []).append(row.id)
    for (experiment, kmeans), run_ids in kinds.items():
        for start in range(0, len(run_ids), _CHUNK):
            _rename(connection, layouts, run_ids[start : start + _CHUNK], experiment, kmeans=kmeans)


def _rename(
    connection: sa.Connection, layouts: dict[str, list[Column]], run_ids: list[str], experiment: str, *, kmeans: bool
) -> None:
    """Let what these runs recorded refer to layouts with the new keys; `layouts` learns those that are written."""
    owners = [(_RUN, _RUN.c.id), *((table, table.c.run_id) for table in _RECORDS)]
    for table, owner in owners:
        used = connection.execute(sa.select(table.c.layout_id).where(owner.in_(run_ids)).distinct()).scalars().all()
        for old in filter(None, used):
            columns = [renamed((name, split, layer), experiment, kmeans=kmeans) for name, split, layer in layouts[old]]
            new = hashlib.sha256(json.dumps(columns).encode()).hexdigest()[:16]
            if new not in layouts:
                connection.execute(sa.insert(_LAYOUT).values(id=new, columns=columns))
                layouts[new] = columns
            chosen = sa.update(table).where(owner.in_(run_ids), table.c.layout_id == old)
            connection.execute(chosen.values(layout_id=new))
