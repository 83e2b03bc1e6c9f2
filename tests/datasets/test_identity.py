"""Identity is content: equal digests for equal data however stored, other ones for every change; facts stay true."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
import pytest
from scipy import sparse

from werank_core.config import ExperimentConfig, GraphConfig, RankCollapseConfig, ToySSLConfig
from werank_core.datasets import facts
from werank_core.datasets.digests import content_digest
from werank_core.datasets.errors import DataError
from werank_core.datasets.facts import graph_facts, image_facts
from werank_core.datasets.graph_data import (
    Features,
    Graph,
    NodeSplits,
    graph_digest,
    save_graph,
    saved_arrays,
    symmetric_adjacency,
)
from werank_core.datasets.identity import (
    check_digest,
    data_facts,
    identified,
    identified_sweep,
    is_replaced,
    missing_download,
)
from werank_core.datasets.image_files import LabelledImages
from werank_core.datasets.own_data import keep_own_graph, keep_own_images, remove_own
from werank_core.sweeps import SweepSpec

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(12, 3)).astype(np.float32)


class Parts(TypedDict, total=False):
    name: str
    adjacency: sparse.csr_array
    features: Features
    labels: np.ndarray
    own_splits: NodeSplits


def graph(**changes: Unpack[Parts]) -> Graph:
    nodes = np.arange(12)
    plain = Graph("mine", symmetric_adjacency(nodes, (nodes + 1) % 12, 12), FEATURES, nodes // 4)
    return dataclasses.replace(plain, **changes)


def own(**changes: object) -> GraphConfig:
    return GraphConfig(dataset="own", own_graph="mine", **changes)


class TestDigest:
    def test_storage_does_not_count(self) -> None:
        arrays = {"a": np.arange(6, dtype=np.int64).reshape(2, 3), "b": np.array([True, False]), "c": FEATURES}
        others = {
            "c": np.asfortranarray(FEATURES.astype(">f4")),
            "b": arrays["b"].copy(),
            "a": arrays["a"].astype(np.int32),
        }
        assert content_digest(arrays) == content_digest(others)

    @pytest.mark.parametrize(
        "changed",
        [
            {"a": np.array([1, 2, 4])},
            {"a": np.array([[1, 2, 3]])},
            {"a": np.array([1.0, 2, 3])},
            {"b": np.array([1, 2, 3])},
            {"a": np.array([1, 2, 3]), "b": np.zeros(0)},
        ],
        ids=["value", "shape", "kind", "name", "one more"],
    )
    def test_content_does(self, changed: dict[str, np.ndarray]) -> None:
        assert content_digest(changed) != content_digest({"a": np.array([1, 2, 3])})

    @pytest.mark.parametrize(
        "changes",
        [
            {"adjacency": symmetric_adjacency(np.arange(11), np.arange(1, 12), 12)},
            {"features": FEATURES + np.eye(12, 3, dtype=np.float32) * 1e-6},
            {"features": sparse.csr_array(FEATURES)},
            {"labels": np.arange(12) // 4 * np.where(np.arange(12) == 11, 0, 1)},
            {"labels": np.where(np.arange(12) == 3, -1, np.arange(12) // 4)},
            {"own_splits": NodeSplits(*(np.arange(12)[None] % 3 == part for part in range(3)))},
        ],
        ids=["an edge", "a feature", "sparse features", "a label", "no label", "splits"],
    )
    def test_every_part_of_a_graph_counts_and_its_name_does_not(self, changes: Parts) -> None:
        assert graph_digest(graph(**changes)) != graph_digest(graph())
        assert graph_digest(graph(name="another")) == graph_digest(graph())


class TestFacts:
    def test_they_are_those_of_the_graph(self, tmp_path: Path) -> None:
        labels = np.where(np.arange(12) == 3, -1, np.arange(12) // 4)
        kept = graph(labels=labels, adjacency=symmetric_adjacency(np.arange(10), np.arange(1, 11), 12))
        found = graph_facts(keep_own_graph(kept, tmp_path))
        assert dataclasses.asdict(found) == {
            "digest": graph_digest(kept), "num_nodes": 12, "num_edges": 20, "num_features": 3, "stored_features": 36,
            "num_classes": 3, "num_unlabelled": 1, "num_isolated": 1, "num_splits": 0, "homophily": 0.875,
        }  # fmt: skip

    @pytest.mark.parametrize("how", ["renamed into place", "written in place", "written in place, date set back"])
    def test_another_content_is_seen_however_it_got_there(self, tmp_path: Path, how: str) -> None:
        path = keep_own_graph(graph(), tmp_path)
        before, stat = graph_facts(path), path.stat()
        other = graph(labels=(np.arange(12) // 4)[::-1].copy())
        if how == "renamed into place":
            save_graph(other, path)
        else:
            save_graph(other, tmp_path / "other.npz")
            path.write_bytes((tmp_path / "other.npz").read_bytes())
        if "date" in how:
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert graph_facts(path).digest == graph_digest(other) != before.digest

    def test_the_next_process_reads_them_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = keep_own_graph(graph(), tmp_path)
        taken = graph_facts(path)
        facts._remembered.clear()

        def must_not(*_: object) -> None:
            raise AssertionError("the file was read again")

        monkeypatch.setattr(facts, "load_saved", must_not)
        assert graph_facts(path) == taken

    def test_a_copied_or_damaged_note_is_not_believed(self, tmp_path: Path) -> None:
        path = keep_own_graph(graph(), tmp_path)
        taken = graph_facts(path)
        note = path.with_name(".mine.facts")
        other = keep_own_graph(graph(name="other", features=FEATURES * 2), tmp_path)
        shutil.copy(note, other.with_name(".other.facts"))
        facts._remembered.clear()
        assert graph_facts(other).digest != taken.digest
        note.write_text("{")
        facts._remembered.clear()
        assert graph_facts(path) == taken

    def test_the_same_arrays_packed_otherwise_are_the_same_data(self, tmp_path: Path) -> None:
        path = keep_own_graph(graph(), tmp_path)
        before = graph_facts(path).digest
        np.savez(path, allow_pickle=False, **saved_arrays(graph()))
        assert graph_facts(path).digest == before


class TestIdentified:
    def test_the_digest_enters_the_identity_of_runs(self, tmp_path: Path) -> None:
        keep_own_graph(graph(), tmp_path)
        first = identified(own(), tmp_path)
        assert first.data_digest == graph_digest(graph())
        assert first.effective()["data_digest"] == first.data_digest
        keep_own_graph(graph(features=FEATURES * 2), tmp_path)
        second = identified(own(), tmp_path)
        assert first.digest() != second.digest()
        assert first.without_identity() == second.without_identity() == own()

    def test_a_replaced_graph_is_noticed_wherever_it_is_met(self, tmp_path: Path) -> None:
        keep_own_graph(graph(), tmp_path)
        config = identified(own(), tmp_path)
        assert not is_replaced(config, tmp_path)
        keep_own_graph(graph(features=FEATURES * 2), tmp_path)
        assert is_replaced(config, tmp_path)
        with pytest.raises(DataError, match="your graph 'mine' was replaced since this sweep was made"):
            identified(config, tmp_path)
        with pytest.raises(DataError, match="was replaced after this run was submitted"):
            check_digest(config, "0" * 16)
        check_digest(own(), "0" * 16)
        remove_own("mine", tmp_path)
        assert not is_replaced(config, tmp_path)

    @pytest.mark.parametrize(
        "config",
        [GraphConfig(), GraphConfig(dataset="karate_club"), RankCollapseConfig(), RankCollapseConfig(dataset="digits"),
         ToySSLConfig()],
        ids=["block model", "karate club", "mixture", "digits", "toy"],
    )  # fmt: skip
    def test_what_a_seed_or_a_package_makes_needs_no_digest(self, tmp_path: Path, config: ExperimentConfig) -> None:
        assert identified(config, tmp_path) == config
        assert config.is_identified
        assert data_facts(config, tmp_path) is None

    @pytest.mark.parametrize("config", [GraphConfig(dataset="pubmed"), RankCollapseConfig(dataset="cifar10")])
    def test_missing_downloads_are_named_with_the_command(
        self, tmp_path: Path, config: GraphConfig | RankCollapseConfig
    ) -> None:
        assert missing_download(config, tmp_path) == config.dataset
        assert not config.is_identified
        with pytest.raises(DataError, match=f"not downloaded yet: fetch it .*data fetch {config.dataset}"):
            identified(config, tmp_path)

    def test_own_images_bring_their_number_of_classes(self, tmp_path: Path) -> None:
        images = LabelledImages(RNG.integers(0, 255, (30, 12)).astype(np.uint8), np.arange(30) % 4, (3, 2, 2))
        found = image_facts(keep_own_images("mine", images, tmp_path))
        config = identified(RankCollapseConfig(dataset="own_images", own_images="mine"), tmp_path)
        assert (config.data_digest, config.image_classes, config.classes) == (found.digest, 4, 4)
        assert {"data_digest", "image_classes"}.isdisjoint(RankCollapseConfig.second_axes())

    @pytest.mark.parametrize(
        ("config", "sentence"),
        [
            (own(splits="own"), "splits = own: your graph 'mine' brings none along; choose random"),
            (own(memory_share=1e-9), "one run needs about .* and the budget is"),
            (GraphConfig(dataset="own", own_graph="yours"), "no graph of your own named 'yours'; there are: mine"),
            (GraphConfig(average_degree=900.0), "lower average_degree"),
        ],
    )
    def test_what_training_would_stumble_over_is_said_before(
        self, tmp_path: Path, config: ExperimentConfig, sentence: str
    ) -> None:
        keep_own_graph(graph(), tmp_path)
        with pytest.raises(DataError, match=sentence):
            identified(config, tmp_path)

    def test_images_that_are_too_few_or_no_images(self, tmp_path: Path) -> None:
        rows = LabelledImages(RNG.normal(size=(30, 7)).astype(np.float32), np.arange(30) % 4, (1, 1, 7))
        keep_own_images("rows", rows, tmp_path)
        base = RankCollapseConfig(dataset="own_images", own_images="rows")
        with pytest.raises(DataError, match="model = cnn: your images 'rows' has rows of numbers, no images"):
            identified(base.replaced(model="cnn"), tmp_path)
        with pytest.raises(DataError, match="30 images: too few for 9 classes or clusters"):
            identified(base.replaced(clusters="kmeans", num_clusters=9), tmp_path)


def test_asking_for_facts_loads_no_torch(tmp_path: Path) -> None:
    keep_own_graph(graph(), tmp_path)
    code = (
        "import sys; from pathlib import Path; from werank_core.config import GraphConfig; "
        "from werank_core.datasets.identity import identified; "
        f"identified(GraphConfig(dataset='own', own_graph='mine'), Path({str(tmp_path)!r})); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class TestSweeps:
    def test_every_value_of_the_second_axis_is_held_against_the_data(self, tmp_path: Path) -> None:
        """Only the config was, and the other values failed in training."""
        config = GraphConfig(num_nodes=40, num_classes=3, average_degree=3)
        made = {"experiment": "graph", "config": config, "strengths": (0.0, 1.0), "second_axis": "average_degree"}
        sound = SweepSpec.model_validate({**made, "second_values": (2, 3)})
        assert identified_sweep(sound, tmp_path) == sound
        with pytest.raises(DataError, match="average_degree = 1000"):
            identified_sweep(SweepSpec.model_validate({**made, "second_values": (3, 1000)}), tmp_path)

    def test_it_carries_the_digest_of_its_data(self, tmp_path: Path) -> None:
        keep_own_graph(graph(), tmp_path)
        config = GraphConfig(dataset="own", own_graph="mine", evaluation_rows=16)
        made = {"experiment": "graph", "config": config, "strengths": (0.0,), "second_axis": "depth"}
        spec = identified_sweep(SweepSpec.model_validate({**made, "second_values": (1, 2)}), tmp_path)
        assert spec.config == identified(config, tmp_path)
        assert {run.config.model_dump()["data_digest"] for run in spec.runs()} == {graph_digest(graph())}

    def test_settings_that_do_not_fit_what_was_found_are_one_sentence(self, tmp_path: Path) -> None:
        """On a page this was a red box: the config refused the number of classes that was filled in."""
        labels = np.repeat(np.arange(20), 15)
        pixels = RNG.integers(0, 255, (len(labels), 16)).astype(np.uint8)
        keep_own_images("many", LabelledImages(pixels, labels, (1, 4, 4)), tmp_path)
        config = RankCollapseConfig(dataset="own_images", own_images="many", evaluation_rows=10)
        with pytest.raises(DataError, match="evaluation_rows = 10 is fewer than the 20 classes"):
            identified(config, tmp_path)
