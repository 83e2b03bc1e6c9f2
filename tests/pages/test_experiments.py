"""The pages of graphs and rank collapse: empty, on really trained small sweeps, every panel, bad data."""

from typing import Any

import pytest

from tests.pages.conftest import OpenPage, charts
from werank_core.experiments import EXPERIMENTS, experiment
from werank_core.settings import settings
from werank_core.store import Store, queue
from werank_core.store.recorder import StoreSink
from werank_core.store.runs import submit
from werank_core.sweeps import SweepSpec
from werank_core.training import graph, rank_collapse
from werank_core.training.recorder import Recorder, Workplace
from werank_core.vocabulary import RunState

TRAINERS = {"graph": graph.train, "rank_collapse": rank_collapse.train}
SMALL = {
    "graph": {"num_nodes": 60, "epochs": 6, "warmup_epochs": 1, "records": 2, "num_splits": 2, "hidden_width": 8,
              "output_width": 8, "head_width": 8},
    "rank_collapse": {"steps": 12, "records": 3, "num_samples": 60, "width": 12, "depth": 3, "dimension": 8},
}  # fmt: skip


def trained(store: Store, name: str, preset: str, **sweep: object) -> str:
    """A small sweep, trained here with the experiment's own trainer; what no sweep has is a field of its config."""
    chosen = experiment(name).presets[preset]
    changes = {key: sweep.pop(key) for key in list(sweep) if key not in SweepSpec.model_fields}
    changes |= {"dataset": "mixture"} if preset == "both_knobs" else {}
    config = chosen.config.replaced(**SMALL[name], **changes)
    fields = {"strengths": (0.0, 0.01, 0.1), "seeds": 2, "name": preset, **sweep}
    spec = SweepSpec.model_validate({"experiment": name, "config": config, **fields})
    sweep_id = submit(store, spec).sweep_id
    while claimed := queue.claim(store, "test", lease_seconds=3600):
        queue.started_on(store, claimed, "cpu")
        recorder = Recorder(StoreSink(store, claimed))
        assert TRAINERS[name](claimed.batch, recorder, Workplace(data_folder=settings().data_folder))
        queue.finish(store, claimed, RunState.FINISHED, seconds=1.0)
    return sweep_id


@pytest.mark.parametrize("name", ["graph", "rank_collapse"])
def test_an_empty_store_offers_the_example(open_page: OpenPage, name: str) -> None:
    at = open_page(f"pages/{name}.py")
    assert at.title[0].value == EXPERIMENTS[name].question
    assert any(button.label == "Run the example" for button in at.button)
    assert not at.get("plotly_chart")


PANELS = {
    "graph": (
        "Spectra",
        "Training",
        "Rank against accuracy",
        "Embedding",
        "Layer schedules",
        "Gram matrices",
        "C of the probe",
        "Table of runs",
        "Table of settings",
        "Downloads",
    ),
    "rank_collapse": (
        "Spectra",
        "Training",
        "Rank at a tolerance",
        "Certificate",
        "Closed form",
        "Compression",
        "Table of runs",
        "Table of settings",
        "Downloads",
    ),
}


@pytest.mark.parametrize(
    ("name", "preset", "prefix"), [("graph", "block_model", "graph"), ("rank_collapse", "mixture", "collapse")]
)
def test_every_panel_of_a_finished_sweep_is_drawn(
    open_page: OpenPage, store: Store, name: str, preset: str, prefix: str
) -> None:
    sweep_id = trained(store, name, preset)
    for panel in PANELS[name]:
        at = open_page(f"pages/{name}.py", **{f"{prefix}_sweep": sweep_id, f"{prefix}_details": panel})
        assert at.segmented_control(key=f"{prefix}_details").value == panel
        expected = 1 if panel in ("Table of runs", "Table of settings", "Downloads", "Closed form") else 2
        assert len(at.get("plotly_chart")) == expected, panel


def test_picture_and_card_name_the_ceiling_of_a_rank(open_page: OpenPage, store: Store) -> None:
    """60 nodes and a width of 8 here; 34 nodes could not show more than 34 at any width."""
    sweep_id = trained(store, "graph", "block_model")
    at = open_page("pages/graph.py", graph_sweep=sweep_id, graph_details="Training")
    for chart in charts(at):
        titles = [note["text"] for note in chart["layout"]["annotations"]]
        assert any(title.startswith("<b>effective rank</b>, all rows, at most 8") for title in titles)
    assert any("effective rank, at most 8" in metric.label for metric in at.metric)


def test_every_row_of_a_picture_says_which_rows_of_the_data_it_is_of(open_page: OpenPage, store: Store) -> None:
    sweep_id = trained(store, "rank_collapse", "mixture")
    drawn = {}
    for metrics in ("headline", *experiment("rank_collapse").metric_sets):
        at = open_page("pages/rank_collapse.py", collapse_sweep=sweep_id, collapse_metrics=metrics)
        titles = [note["text"].split(", ") for note in charts(at)[0]["layout"]["annotations"]]
        drawn[metrics] = [
            ", ".join(part for part in title if "everywhere" not in part and "at most" not in part) for title in titles
        ]
    assert drawn["headline"] == [
        "<b>effective rank</b>, training rows", "<b>relative TCV</b>, training rows", "<b>accuracy</b>, test rows",
    ]  # fmt: skip
    assert drawn["layers"][:2] == ["<b>effective rank of the weights</b>", "<b>numerical rank of the weights</b>"]
    assert all(drawn.values())


def test_the_certificate_says_how_many_are_informative_and_what_they_prove(open_page: OpenPage, store: Store) -> None:
    sweep_id = trained(store, "rank_collapse", "mixture")
    at = open_page("pages/rank_collapse.py", collapse_sweep=sweep_id, collapse_details="Certificate")
    # 2 strengths above 0, 2 seeds, 2 layers wider than K, 4 records
    (caption,) = (caption.value for caption in at.caption if "certificates" in caption.value)
    assert "of 32 certificates (one for every run, layer and recorded step) are informative" in caption
    assert "holds for any matrices" in caption
    assert "violations" not in caption
    assert "AdamW" not in caption


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"optimizer": "adamw", "learning_rate": 0.001}, "AdamW decays the weights apart from the loss"),
        ({"werank_strength": 0.1}, "WERank is in the loss and not in the residual"),
    ],
)
def test_what_keeps_the_residual_from_0_is_said_and_the_certificate_drawn(
    open_page: OpenPage, store: Store, changes: dict[str, Any], sentence: str
) -> None:
    sweep_id = trained(store, "rank_collapse", "mixture", **changes)
    at = open_page("pages/rank_collapse.py", collapse_sweep=sweep_id, collapse_details="Certificate")
    assert any(sentence in caption.value for caption in at.caption)
    lines = {trace.get("name") for trace in charts(at)[1]["data"]}
    assert {"distance", "certificate", "TCV bound", "‖W‖_F"} <= lines


def test_closed_form_is_drawn_behind_the_measurement(open_page: OpenPage, store: Store) -> None:
    sweep_id = trained(
        store, "rank_collapse", "theory", second_axis="depth", second_values=(1, 2), strengths=(0.0, 0.05, 0.3)
    )
    at = open_page("pages/rank_collapse.py", collapse_sweep=sweep_id, collapse_details="Closed form")
    specs = [chart.proto.spec for chart in at.get("plotly_chart")]
    assert len(specs) == 3
    assert "closed form σ1" in specs[1].encode().decode("unicode_escape")
    assert "closed form, depth 2" in specs[2]


def test_both_knobs_are_four_linked_maps(open_page: OpenPage, store: Store) -> None:
    sweep_id = trained(store, "rank_collapse", "both_knobs", second_axis="werank_strength", second_values=(0, 0.1))
    at = open_page("pages/rank_collapse.py", collapse_sweep=sweep_id, collapse_details="Both knobs")
    axes = {trace.get("yaxis", "y") for trace in charts(at)[1]["data"] if trace["type"] == "heatmap"}
    assert len(axes) == 4
    assert any("neither paper's claim" in caption.value for caption in at.caption)


def test_ranks_follow_the_tolerance_without_training_again(open_page: OpenPage, store: Store) -> None:
    sweep_id = trained(store, "rank_collapse", "mixture")
    at = open_page("pages/rank_collapse.py", collapse_sweep=sweep_id, collapse_details="Rank at a tolerance")
    before = at.get("plotly_chart")[1].proto.spec
    at.select_slider(key="collapse_tolerance").set_value(0.3).run()
    assert not at.exception
    assert at.get("plotly_chart")[1].proto.spec != before


def test_a_graph_larger_than_the_budget_is_refused_before_anything_is_queued(open_page: OpenPage, store: Store) -> None:
    at = open_page("pages/graph.py")
    at.toggle(key="graph_form_open").set_value(True).run()
    at.text_input(key="graph_field_num_nodes").set_value("200000").run()
    at.text_input(key="graph_field_hidden_width").set_value("4096").run()
    at.text_input(key="graph_field_memory_share").set_value("0.001").run()
    assert any("budget" in error.value for error in at.error)
    assert at.button(key="graph_run").disabled


def test_a_panel_beside_an_axis_of_its_own_says_so(open_page: OpenPage, store: Store) -> None:
    """Where the Gram matrix is the second axis, the three sweeps that the panel would compare are one and the same."""
    sweep_id = trained(store, "graph", "block_model", second_axis="gram", second_values=("smaller", "input"))
    at = open_page("pages/graph.py", graph_sweep=sweep_id, graph_details="Gram matrices")
    assert [info.value for info in at.info] == [
        "The Gram matrix is this sweep's second axis: the picture above shows it."
    ]
    assert len(at.get("plotly_chart")) == 1
