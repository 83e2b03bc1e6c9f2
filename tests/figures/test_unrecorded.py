import numpy as np
import pandas as pd

from tests.figures.frames import tidy_frame
from werank_core.figures.strength import strength_caption
from werank_core.figures.summaries import summarize_strength
from werank_core.figures.unrecorded import with_unrecorded

METRICS = ("effective_rank", "accuracy")


def runs_of(frame: pd.DataFrame, **states: str) -> pd.DataFrame:
    """One row a run of the frame, and one more for each `state = run id` given."""
    columns = ["run_id", "sweep_id", "experiment", "dataset", "strength", "second_axis", "second_value", "seed"]
    known = frame[[*columns, "step", "state"]].drop_duplicates("run_id")
    extra = [known.iloc[0].to_dict() | {"run_id": f"new-{name}", "seed": 9, "state": name} for name in states]
    return pd.concat([known, pd.DataFrame(extra)], ignore_index=True) if extra else known


def test_a_run_that_failed_before_its_first_record_is_counted() -> None:
    frame = tidy_frame(METRICS, seeds=3)
    complete = with_unrecorded(frame, runs_of(frame, failed=""), METRICS)
    assert len(complete) == len(frame) + 2
    assert dict(complete.dtypes) == dict(frame.dtypes)
    summary = summarize_strength(complete, METRICS, expected_seeds=3)
    assert summary["num_failed"].tolist() == [1, 0, 0, 0, 1, 0, 0, 0]
    assert "1 run failed at strength = 0 and is not in the mean." in strength_caption(summary)
    pd.testing.assert_series_equal(summary["mean"], summarize_strength(frame, METRICS)["mean"])


def test_only_the_metrics_a_run_lacks_are_filled_in_and_every_layer_of_them() -> None:
    frame = tidy_frame(("weight_effective_rank", "accuracy"), strengths=(0.0,), seeds=2, layers=(1, 2))
    late = frame[(frame["seed"] == 1) & (frame["metric"] == "accuracy")].index
    partly = frame.drop(late).assign(state=np.where(frame.drop(late)["seed"] == 1, "running", "finished"))
    complete = with_unrecorded(partly, runs_of(partly), ("weight_effective_rank", "accuracy"))
    added = complete.iloc[len(partly) :]
    assert added["metric"].tolist() == ["accuracy", "accuracy"]
    assert added["layer"].tolist() == [1, 2]
    assert added["value"].isna().all()


def test_a_finished_run_without_a_metric_is_left_alone() -> None:
    frame = tidy_frame(METRICS, seeds=2)
    partial = frame.iloc[1:]
    pd.testing.assert_frame_equal(with_unrecorded(partial, runs_of(frame), METRICS), partial)


def test_nothing_recorded_at_all_still_counts_every_run() -> None:
    frame = tidy_frame(METRICS, seeds=2)
    waiting = runs_of(frame).assign(state="queued")
    complete = with_unrecorded(frame.iloc[:0], waiting, ("test/accuracy",))
    assert len(complete) == len(waiting)
    assert set(complete["split"]) == {"test"}
    assert summarize_strength(complete)["num_unfinished"].tolist() == [2, 2, 2, 2]
