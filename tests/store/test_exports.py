"""A sweep as files: every number of it comes back as it is in the store."""

import io

import numpy as np
import pandas as pd
import pytest

from tests.pages.stores import DEPTH, finished_cleanly, finished_sweep
from werank_core.store import Store, exports, queries


def read_back(store: Store, sweep_id: str, contents: exports.Contents) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What CSV and Parquet hold."""
    csv = exports.as_csv(exports.table_parts(store, sweep_id, contents))
    parquet = exports.as_parquet(exports.table_parts(store, sweep_id, contents))
    return pd.read_csv(io.BytesIO(csv)), pd.read_parquet(io.BytesIO(parquet))


AXES: list[tuple[str, tuple[float | str, ...]]] = [("learning_rate", (0.001, 0.01)), ("gram", ("input", "output"))]


@pytest.mark.parametrize(("axis", "seconds"), AXES)
@pytest.mark.parametrize("at_once", [2, 200])
@pytest.mark.parametrize("contents", ["final", "history"])
def test_csv_and_parquet_hold_every_number(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    contents: exports.Contents,
    at_once: int,
    axis: str,
    seconds: tuple[float | str, ...],
) -> None:
    sweep_id = finished_sweep(store, second_axis=axis, second_values=seconds)
    finished_cleanly(store, depth=3)  # somebody else's
    monkeypatch.setattr(exports, "_AT_ONCE", at_once)
    ids = list(queries.runs(store, [sweep_id])["run_id"])
    wanted = (
        queries.final_metrics(store, [sweep_id])
        if contents == "final"
        else queries.history(store, ids, sweep_id=sweep_id)
    )
    keys = ["run_id", "metric", "split", "layer", "step"]
    wanted = wanted.sort_values(keys, ignore_index=True)
    for found in read_back(store, sweep_id, contents):
        assert list(found.columns) == list(queries.TIDY)
        found = found.assign(split=found["split"].astype(object).fillna("")).sort_values(keys, ignore_index=True)
        assert found[keys].astype(str).equals(wanted[keys].astype(str))
        np.testing.assert_allclose(found["value"], wanted["value"], rtol=1e-12)
        assert set(found["second_value"]) == set(wanted["second_value"])
        assert set(found["second_value"]) <= set(seconds)
        assert set(found["second_axis"]) == {axis}


def test_arrays_come_back_with_their_shape(store: Store) -> None:
    sweep_id = finished_cleanly(store)
    found = pd.read_parquet(io.BytesIO(exports.as_parquet(exports.table_parts(store, sweep_id, "arrays"))))
    assert set(found["name"]) == {"weight_spectrum", "representation_spectrum", "embedding_spectrum"}
    assert len(found) == 9 * 5 * (DEPTH + 2)
    row = found[(found["name"] == "weight_spectrum") & (found["step"] == 40) & (found["layer"] == 2)].iloc[0]
    stored = queries.arrays(store, [row["run_id"]], "weight_spectrum")
    np.testing.assert_array_equal(
        np.reshape(row["values"], row["shape"]), stored.loc[stored["layer"] == 2, "values"].iloc[0]
    )


@pytest.mark.parametrize("contents", list(exports.CONTENTS))
def test_a_sweep_without_numbers_is_an_empty_table(store: Store, contents: exports.Contents) -> None:
    for found in read_back(store, "0000000000000000", contents):
        assert len(found) == 0
        assert "run_id" in found.columns
