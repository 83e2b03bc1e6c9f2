"""The graph trainer: the plain algorithm, paired runs, blocks, exact resume, and what it records."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse, stats

from bench.graph_step import Twins
from werank_core.config.graph import GraphConfig
from werank_core.datasets.block_model import make_block_model
from werank_core.datasets.errors import DataError, GraphError
from werank_core.datasets.graph_data import NodeSplits
from werank_core.datasets.graph_memory import needed_bytes
from werank_core.datasets.identity import identified
from werank_core.datasets.own_data import keep_own_graph
from werank_core.metrics.collapse import class_moments, relative_tcv
from werank_core.metrics.rank import effective_rank
from werank_core.sweeps import Run, RunBatch
from werank_core.training.checkpoints import saved
from werank_core.training.graph import GraphSSL, train
from werank_core.training.graph_data import block_size, load_graph_data
from werank_core.training.graph_measures import outputs_of
from werank_core.training.recorder import MemorySink, Recorder, Workplace
from werank_core.training.run_blocks import block_gradients, blocks, whole
from werank_core.training.ssl_losses import rising_decay

SMALL: dict[str, Any] = {
    "num_nodes": 90,
    "num_classes": 3,
    "feature_dimension": 12,
    "hidden_width": 10,
    "output_width": 6,
    "head_width": 8,
    "epochs": 6,
    "warmup_epochs": 2,
    "records": 2,
    "num_splits": 2,
    "learning_rate": 0.01,
}
OBJECTIVES = ("bgrl", "grace", "barlow_twins", "vicreg")


def small(**changes: Any) -> GraphConfig:
    return GraphConfig(**{**SMALL, **changes})


def batch_of(*configs: GraphConfig) -> RunBatch:
    return RunBatch("graph", tuple(Run("graph", config) for config in configs))


def trained(batch: RunBatch, tmp_path: Path, steps: int = 6, block: int = 1) -> GraphSSL:
    task = GraphSSL(batch, tmp_path, block=block)
    for step in range(steps):
        task.advance(step)
    return task


def tensors(task: GraphSSL, run: int) -> dict[str, torch.Tensor]:
    return {name: t.detach()[run] for name, t in (task.engine.parameters | task.engine.frozen).items()}


def keep_bag_of_words(root: Path) -> None:
    graph = make_block_model(120, 3, feature_dimension=60, seed=0)
    bags = sparse.random_array((120, 60), density=0.08, format="csr", rng=np.random.default_rng(0), dtype=np.float32)
    keep_own_graph(dataclasses.replace(graph, name="bags", features=bags), root)


class TestPlainBGRL:
    @pytest.mark.parametrize("strength", [0.0, 0.1])
    @pytest.mark.parametrize("kind", ["dense", "bags"])
    def test_losses_agree_over_fifty_steps(self, kind: str, strength: float, tmp_path: Path) -> None:
        """Same weights and masks, an independent implementation with PyG, AdamW and autograd: equal up to rounding."""
        keep_bag_of_words(tmp_path)
        source = {"dataset": "own", "own_graph": "bags"} if kind == "bags" else {}
        twins = Twins(small(epochs=200, warmup_epochs=20, learning_rate=5e-4, strength=strength, **source), tmp_path)
        pairs = [(twins.ours(), twins.theirs()) for _ in range(50)]
        assert max(abs(a - b) for a, b in pairs) < 4e-6
        assert pairs[-1][0] < pairs[0][0] - 0.01

    def test_target_is_drawn_anew_and_follows_by_the_schedule(self, tmp_path: Path) -> None:
        task = GraphSSL(batch_of(small()), tmp_path)
        names = [name for name in task.model.parameters if name.startswith("encoder.convolutions")]
        before = {name: task.engine.frozen["target." + name.removeprefix("encoder.")].clone() for name in names}
        assert not any(torch.equal(before[name], task.model.parameters[name]) for name in names)
        online = {name: task.model.parameters[name].detach().clone() for name in names}
        task.advance(0)
        for name in names:
            # The warm-up's first learning rate is 0, so the target moves towards the online encoder's first weights.
            expected = before[name].lerp(online[name], 1 - rising_decay(0, 6, 0.99))
            assert torch.allclose(task.engine.frozen["target." + name.removeprefix("encoder.")], expected)

    def test_decay_rises_from_first_to_one_by_a_cosine(self) -> None:
        assert [rising_decay(step, 100, 0.9) for step in (0, 50, 100)] == pytest.approx([0.9, 0.95, 1.0])


class TestRunsOfABatch:
    @pytest.mark.parametrize("objective", OBJECTIVES)
    def test_slice_of_a_batch_is_the_solo_run(self, objective: str, tmp_path: Path) -> None:
        configs = [
            small(objective=objective, strength=a, model_seed=s, data_seed=s) for s in (0, 1) for a in (0.0, 0.1)
        ]
        together = trained(batch_of(*configs), tmp_path)
        for run, config in enumerate(configs):
            alone = trained(batch_of(config), tmp_path)
            assert all(torch.equal(t, tensors(alone, 0)[name]) for name, t in tensors(together, run).items())

    @pytest.mark.parametrize("objective", OBJECTIVES)
    @pytest.mark.parametrize("norm", ["batch", "layer"])
    def test_block_size_does_not_change_results(self, objective: str, norm: str, tmp_path: Path) -> None:
        """Three runs stacked by vmap, of two graphs and two scales, against one by one."""
        parts = [(0, 0.0, 1.0), (0, 0.1, 1.0), (0, 0.1, 0.5), (1, 0.1, 1.0)]
        configs = [
            small(objective=objective, norm=norm, model_seed=s, data_seed=s, strength=a, augmentation_scale=c)
            for s, a, c in parts
        ]
        task = trained(batch_of(*configs), tmp_path, steps=3)
        inputs, found = task.inputs(), []
        for size in (1, 3):
            frozen = {name: tensor.clone() for name, tensor in task.engine.frozen.items()}
            cut = blocks(task.engine.run_losses, size)
            parts = [block_gradients(block, task.engine.parameters, frozen, inputs(block)) for block in cut]
            values, gradients = (whole(cut, part, 4) for part in zip(*parts, strict=True))
            found.append(values | gradients | frozen)
        for name, one in found[0].items():
            assert torch.allclose(one, found[1][name], rtol=1e-4, atol=1e-5), name

    def test_a_run_that_breaks_leaves_its_neighbours_alone(self, tmp_path: Path) -> None:
        sound = trained(batch_of(small(), small(strength=0.1)), tmp_path)
        task = GraphSSL(batch_of(small(), small(strength=0.1)), tmp_path)
        with torch.no_grad():
            task.model.parameters["encoder.convolutions.0.weight"][0, 0, 0] = torch.nan
        for step in range(6):
            task.advance(step)
        assert not torch.isfinite(task.last_losses["loss"][0])
        assert all(torch.equal(t, tensors(sound, 1)[name]) for name, t in tensors(task, 1).items())
        values, _ = task.measure(6)
        assert torch.isnan(values["all/effective_rank"][0])
        assert torch.isfinite(values["all/effective_rank"][1])

    def test_runs_of_a_seed_start_alike_and_share_views(self, tmp_path: Path) -> None:
        task = GraphSSL(batch_of(small(), small(strength=0.1), small(model_seed=1)), tmp_path)
        weight = task.model.parameters["encoder.convolutions.0.weight"]
        assert torch.equal(weight[0], weight[1])
        assert not torch.equal(weight[0], weight[2])
        of_block = task.inputs()
        inputs = [part for block in task.engine.blocks for part in of_block(block)]
        assert all(inputs[0][name] is inputs[1][name] for name in inputs[0] if name != "strength")
        assert not torch.equal(inputs[0]["view_1.edges"], inputs[2]["view_1.edges"])

    def test_learning_rate_may_differ_within_a_batch(self, tmp_path: Path) -> None:
        configs = small(learning_rate=0.01), small(learning_rate=0.02)
        together = trained(batch_of(*configs), tmp_path)
        alone = trained(batch_of(configs[1]), tmp_path)
        assert all(torch.equal(t, tensors(alone, 0)[name]) for name, t in tensors(together, 1).items())


class TestPenalty:
    @pytest.mark.parametrize("gram", ["smaller", "output", "input"])
    def test_it_is_on_the_gram_matrix_that_the_config_names(self, gram: str, tmp_path: Path) -> None:
        """12 features, widths 14 and 6, head 8: wide and narrow layers, one of each orientation."""
        task = GraphSSL(batch_of(small(gram=gram, hidden_width=14, penalize_head=True, strength=0.5)), tmp_path)
        task.advance(0)
        start = GraphSSL(batch_of(small(gram=gram, hidden_width=14)), tmp_path).model.parameters
        weights = [p.detach()[0] for name, p in start.items() if name.endswith("weight") and p.ndim == 3]
        assert [tuple(w.shape) for w in weights] == [(14, 12), (6, 14), (8, 6), (6, 8)]
        expected = 0.0
        for w in weights:
            of_output = w.shape[0] <= w.shape[1] if gram == "smaller" else gram == "output"
            g = w @ w.mT if of_output else w.mT @ w
            expected += float(torch.linalg.matrix_norm(g - torch.eye(len(g))))
        assert task.last_losses["penalty"].item() == pytest.approx(expected, rel=1e-5)
        parts = {name: value.item() for name, value in task.last_losses.items()}
        assert parts["loss"] == pytest.approx(parts["objective"] + 0.5 * expected, rel=1e-5)


class TestLoop:
    def test_stopped_and_resumed_is_as_if_never_stopped(self, tmp_path: Path) -> None:
        batch = batch_of(small(), small(strength=0.1, model_seed=1))
        whole, first, second = MemorySink(), MemorySink(stop_at=3), MemorySink()
        assert train(batch, Recorder(whole), Workplace(data_folder=tmp_path))
        place = Workplace(data_folder=tmp_path, checkpoint=tmp_path / "c")
        assert not train(batch, Recorder(first), place)
        assert train(batch, Recorder(second), place)
        clock = {"step_seconds", "penalty_cost"}
        for name in set(whole.values[-1]) - clock:
            assert np.array_equal(whole.values[-1][name], second.values[-1][name]), name
        for key, array in whole.arrays[6].items():
            assert np.array_equal(array, second.arrays[6][key])
        assert not (tmp_path / "c").exists()

    def test_records_are_finite_and_the_last_has_picture_and_probe(self, tmp_path: Path) -> None:
        sink = MemorySink()
        train(batch_of(small(), small(strength=0.1)), Recorder(sink), Workplace(data_folder=tmp_path))
        assert sink.steps == [0, 3, 6]
        assert all(np.isfinite(values[name]).all() for values in sink.values for name in values)
        last = sink.arrays[6]
        assert last["picture", 0].shape == (2, 90, 2)
        assert last["probe_curve", 0].shape == (2, 2, 21)
        assert last["weight_spectrum", 2].shape == (2, 6)

    def test_a_rank_is_that_of_the_stored_spectrum_also_when_rows_are_sampled(self, tmp_path: Path) -> None:
        sink = MemorySink()
        train(batch_of(small(evaluation_rows=50, output_width=60)), Recorder(sink), Workplace(data_folder=tmp_path))
        spectrum = torch.from_numpy(sink.arrays[6]["representation_spectrum", 0])
        assert (spectrum > 0).sum() == 50
        assert sink.last("all/effective_rank") == pytest.approx(effective_rank(spectrum).numpy())

    def test_the_probe_follows_the_protocol_of_the_config(self, tmp_path: Path) -> None:
        found = {}
        for protocol in ("holdout", "bgrl"):
            config = small(probe_protocol=protocol, classifier="one_vs_rest", num_splits=4)
            values, arrays = trained(batch_of(config), tmp_path).measure(6)
            found[protocol] = values["test/accuracy"].item()
            assert arrays["probe_curve", 0].shape == (1, 4, 21)
            assert arrays["probe_accuracy", 0].mean().item() == pytest.approx(found[protocol])
        assert found["bgrl"] != found["holdout"]

    def test_measuring_changes_nothing(self, tmp_path: Path) -> None:
        task = trained(batch_of(small()), tmp_path, steps=3)
        before = saved(task.tree)
        task.measure(6)
        after = saved(task.tree)
        for name, tensor in before.items():
            torch.testing.assert_close(after[name], tensor, rtol=0, atol=0, equal_nan=True, msg=name)

    @pytest.mark.parametrize(
        "changes",
        [
            {"norm": "none"},
            {"depth": 1},
            {"depth": 3},
            {"bfloat16": True},
            {"penalize_head": True},
            {"alpha_schedule": "last"},
        ],
    )
    def test_every_switch_trains(self, changes: dict[str, Any], tmp_path: Path) -> None:
        task = trained(batch_of(small(strength=0.1, **changes)), tmp_path, steps=2)
        assert torch.isfinite(task.last_losses["loss"]).all()
        assert torch.isfinite(task.measure(6)[0]["all/effective_rank"]).all()

    @pytest.mark.parametrize("objective", ["grace", "barlow_twins", "vicreg"])
    def test_without_a_head_embeddings_are_the_representations(self, objective: str, tmp_path: Path) -> None:
        values, _ = trained(batch_of(small(objective=objective, head_width=0)), tmp_path, steps=2).measure(6)
        assert torch.equal(values["all/effective_rank"], values["all/embedding_effective_rank"])


class TestData:
    def test_missing_graph_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(GraphError, match="Cora is not downloaded yet"):
            GraphSSL(batch_of(small(dataset="cora")), tmp_path)

    def test_public_graph_is_loaded_once_for_all_seeds(self, tmp_path: Path) -> None:
        config = small(dataset="karate_club")
        found = load_graph_data(config, [0, 1], tmp_path, "cpu")
        assert found[0].graph is found[1].graph
        assert not torch.equal(found[0].splits.test, found[1].splits.test)

    def test_larger_than_the_budget_is_named(self, tmp_path: Path) -> None:
        config = small(memory_share=1e-9)
        data = load_graph_data(config, [0], tmp_path, "cpu")[0]
        with pytest.raises(GraphError, match=r"one run needs about .* choose smaller widths"):
            block_size(config, data, 4, "cpu")

    def test_memory_is_known_before_anything_is_loaded(self, tmp_path: Path) -> None:
        keep_bag_of_words(tmp_path)
        own = small(dataset="own", own_graph="bags")
        assert needed_bytes(own, tmp_path) < needed_bytes(own.replaced(objective="grace"), tmp_path)
        assert needed_bytes(small(), tmp_path) < needed_bytes(small(num_nodes=900), tmp_path)
        assert needed_bytes(small(dataset="cora"), tmp_path) < needed_bytes(small(dataset="coauthor_physics"), tmp_path)
        with pytest.raises(GraphError, match="no graph of your own named 'x'"):
            needed_bytes(small(dataset="own", own_graph="x"), tmp_path)

    def test_data_that_were_replaced_after_the_run_was_submitted_are_not_trained_on(self, tmp_path: Path) -> None:
        keep_bag_of_words(tmp_path)
        config = identified(small(dataset="own", own_graph="bags"), tmp_path)
        assert load_graph_data(config, [0], tmp_path, "cpu")[0].num_nodes == 120
        keep_own_graph(dataclasses.replace(make_block_model(120, 3, seed=1), name="bags"), tmp_path)
        with pytest.raises(DataError, match=r"your graph 'bags' was replaced after this run was submitted .*: submit"):
            load_graph_data(config, [0], tmp_path, "cpu")

    def test_block_of_one_on_a_cpu(self, tmp_path: Path) -> None:
        assert block_size(small(), load_graph_data(small(), [0], tmp_path, "cpu")[0], 8, "cpu") == 1


class TestUnlabelledNodes:
    """The block model with and without a fifth of its labels: the same graph, views and weights, fewer scored nodes."""

    LABELLED = np.arange(120) % 5 > 0

    def kept(self, root: Path, *, splits: NodeSplits | None = None) -> None:
        graph = make_block_model(120, 3, feature_dimension=12, seed=0)
        masked = np.where(self.LABELLED, graph.labels, -1)
        keep_own_graph(dataclasses.replace(graph, name="whole"), root)
        keep_own_graph(dataclasses.replace(graph, name="part", labels=masked, own_splits=splits), root)

    def measured(self, name: str, root: Path, **changes: Any) -> tuple[GraphSSL, MemorySink]:
        sink, batch = MemorySink(), batch_of(small(dataset="own", own_graph=name, **changes))
        train(batch, Recorder(sink), Workplace(data_folder=root))
        return trained(batch, root), sink

    def test_they_are_trained_on(self, tmp_path: Path) -> None:
        self.kept(tmp_path)
        (whole, first), (part, second) = (self.measured(name, tmp_path) for name in ("whole", "part"))
        assert all(torch.equal(t, tensors(part, 0)[name]) for name, t in tensors(whole, 0).items())
        for name in ("loss", "effective_rank", "dirichlet_energy", "edge_sensitivity"):
            assert np.array_equal(first.last(f"all/{name}"), second.last(f"all/{name}"))

    def test_class_metrics_and_probe_see_labelled_nodes_alone(self, tmp_path: Path) -> None:
        self.kept(tmp_path)
        task, sink = self.measured("part", tmp_path)
        data = task.data[0]
        assert data.labelled_rows(4096).tolist() == np.flatnonzero(self.LABELLED).tolist()
        assert (data.num_classes, len(data.labelled_rows(50))) == (3, 50)
        for rows in (data.splits.train, data.splits.validation, data.splits.test):
            assert self.LABELLED[rows].all()
        known = torch.from_numpy(np.flatnonzero(self.LABELLED))
        z = outputs_of(task.model, 0, data).representations[:, known]
        expected = relative_tcv(class_moments(z, data.labels[known], 3)).numpy()
        assert sink.last("all/relative_tcv") == pytest.approx(expected, rel=1e-6)
        assert np.isfinite(sink.last("test/accuracy")).all()
        assert set(np.unique(sink.arrays[6]["picture_labels", 0])) == {-1, 0, 1, 2}

    def test_own_splits_of_different_sizes_beside_an_unlabelled_first_node(self, tmp_path: Path) -> None:
        """Shorter splits are filled up with row -1, which is looked up as row 0: a node without a label here."""
        masks = np.arange(120) % 10
        train_mask = np.stack([masks == 1, (masks == 1) | (masks == 2)]) & self.LABELLED
        test = np.stack([masks > 5, masks > 6]) & self.LABELLED
        validation = np.stack([masks == 3, masks == 3]) & self.LABELLED
        self.kept(tmp_path, splits=NodeSplits(train_mask, validation, test))
        _, sink = self.measured("part", tmp_path, splits="own")
        assert np.isfinite(sink.last("test/accuracy")).all()
        assert np.isfinite(sink.last("test/macro_f1")).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("block", [1, 4])
def test_a_gpu_computes_the_same_losses(block: int, tmp_path: Path) -> None:
    keep_bag_of_words(tmp_path)
    configs = [small(dataset="own", own_graph="bags", strength=a, model_seed=s) for s in (0, 1) for a in (0.0, 0.1)]
    tasks = [GraphSSL(batch_of(*configs), tmp_path, device, block=block) for device in ("cpu", "cuda")]
    for step in range(5):
        for task in tasks:
            task.advance(step)
        losses = [task.last_losses["loss"].cpu() for task in tasks]
        assert torch.allclose(*losses, rtol=1e-3)
    assert torch.isfinite(tasks[1].measure(6)[0]["all/effective_rank"]).all()


def test_werank_raises_the_rank_of_representations_under_weak_augmentation(tmp_path: Path) -> None:
    """Block model, augmentation scale 0.25, five paired seeds: the 95% t-interval of the difference excludes 0."""
    changes = {"num_nodes": 200, "hidden_width": 32, "output_width": 16, "head_width": 32, "epochs": 60, "records": 1}
    configs = [
        GraphConfig(**changes, num_splits=1, augmentation_scale=0.25, strength=a, model_seed=s, data_seed=s)
        for s in range(5)
        for a in (0.0, 0.1)
    ]
    sink = MemorySink()
    train(batch_of(*configs), Recorder(sink), Workplace(data_folder=tmp_path))
    plain, regularized = sink.last("all/effective_rank").reshape(5, 2).T
    interval = stats.ttest_rel(regularized, plain).confidence_interval(0.95)
    assert interval.low > 0
