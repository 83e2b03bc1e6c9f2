"""The data of a `rank_collapse` batch: one split for every distinct seed and cluster noise, stacked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from werank_core.config import RankCollapseConfig
from werank_core.datasets.digests import content_digest
from werank_core.datasets.errors import ImageError
from werank_core.datasets.identity import OWN_TRAINING_SHARE, check_digest, data_name
from werank_core.datasets.image_files import LabelledImages, image_arrays
from werank_core.datasets.images import LabelledSplit, load_digits, standardized_split
from werank_core.datasets.openml import load_images
from werank_core.datasets.own_data import load_own_images
from werank_core.datasets.synthetic import make_mixture
from werank_core.metrics.collapse import class_means, class_moments, cluster_labels
from werank_core.metrics.rank import evaluation_rows
from werank_core.streams import Purpose, stream_seed
from werank_core.theory.least_squares import whitened_inputs
from werank_core.training.draws import BatchOrder, sent
from werank_core.training.run_blocks import Block
from werank_core.training.stacked import Runs, State, distinct

MOST_TEST_IMAGES = 10_000
# Numbers in the rows of all runs that are gathered once for all steps.
KEPT_NUMBERS = 2**26


@dataclass(frozen=True)
class CollapseData:
    """S splits of equal shape and which of them each run uses.

    Attributes:
        shape: channels, height, width of an image; rows of numbers are (1, 1, d).
        train, train_labels: `(S, N, d)`, `(S, N)`; test, test_labels: `(S, M, d)`, `(S, M)`.
        evaluation: `(S, E)` the training rows that metrics see, drawn from the data seed.
        clusters: `(S, E)` their clusters: class labels or k-means.
        of_run: `(R,)` index of the run's split.
    """

    num_classes: int
    shape: tuple[int, int, int]
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    evaluation: Tensor
    clusters: Tensor
    of_run: Tensor

    @property
    def num_rows(self) -> int:
        """N, training rows."""
        return self.train.shape[1]

    @cached_property
    def centroids(self) -> State:
        """Class means of every run's rows as `rows`, `labels` and `weights` n_k/N; an absent class weighs 0."""
        moments = class_moments(self.train, self.train_labels, self.num_classes)
        means = class_means(moments).nan_to_num().to(self.train.dtype)
        classes = torch.arange(self.num_classes, device=self.train.device)
        shares = (self.train_labels[..., None] == classes).to(self.train.dtype).mean(1)
        labels = classes.expand(len(self.of_run), -1)
        return {"rows": means[self.of_run], "labels": labels, "weights": shares[self.of_run]}

    def batch(self, runs: Runs, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Training rows `(R', B, d)` and labels `(R', B)` of some runs, given their row numbers `(R', B)`."""
        split = self.of_run[runs][:, None]
        return self.train[split, rows], self.train_labels[split, rows]


class CollapseBatches:
    """The rows that a step sees: of every run, in the order of its model seed.

    Args: size: B; 0 is the full batch, and so is what is larger.
    """

    def __init__(self, data: CollapseData, model_seeds: Sequence[int], size: int) -> None:
        self._data, self.size = data, min(size or data.num_rows, data.num_rows)
        seeds, of_run = distinct(model_seeds)
        self._orders = [BatchOrder(seed, data.num_rows, self.size) for seed in seeds]
        self._device, self._of_run = data.train.device, of_run.to(data.train.device)
        self._once = self.size == data.num_rows and data.train[0].numel() * len(of_run) <= KEPT_NUMBERS

    def at(self, step: int) -> Callable[[Block], State]:
        """`rows` `(R', B, d)`, `labels` and `weights` 1/B of a step; a full batch of moderate size is gathered once."""
        order = sent(torch.stack([order.rows(step) for order in self._orders]), self._device)

        def of_block(block: Block) -> State:
            if block.kept:
                return block.kept
            rows, labels = self._data.batch(block.runs, order[self._of_run[block.runs]])
            found = {"rows": rows, "labels": labels, "weights": rows.new_full(labels.shape, 1 / self.size)}
            block.kept.update(found if self._once else {})
            return found

        return of_block


def collapse_data(
    configs: Sequence[RankCollapseConfig], folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> CollapseData:
    """Everything a batch of runs trains and is tested on."""
    keys, of_run = distinct([(config.data_seed, config.cluster_noise) for config in configs])
    config = configs[0]
    images = kept_images(config, folder)
    splits = [make_split(config.replaced(cluster_noise=noise), seed, images) for seed, noise in keys]
    train, test = (torch.stack([getattr(s, name) for s in splits]).to(dtype) for name in ("train_rows", "test_rows"))
    labels, test_labels = (torch.stack([getattr(s, name) for s in splits]) for name in ("train_labels", "test_labels"))
    evaluation = torch.stack([evaluation_rows(train.shape[1], seed, config.evaluation_rows) for seed, _ in keys])
    clusters = labels.gather(1, evaluation)
    if config.clusters == "kmeans":
        clusters = cluster_labels(train[torch.arange(len(train))[:, None], evaluation], config.num_clusters, seed=0)
    tensors = [t.to(device) for t in (train, labels, test, test_labels, evaluation, clusters, of_run)]
    return CollapseData(config.classes, images.shape if images else _built_in_shape(config), *tensors)


def _built_in_shape(config: RankCollapseConfig) -> tuple[int, int, int]:
    return (1, 8, 8) if config.dataset == "digits" else (1, 1, config.dimension)


def kept_images(config: RankCollapseConfig, folder: Path) -> LabelledImages | None:
    """The images of the data folder that a config trains on; None for data from a seed and digits.

    Raises:
        DataError: they are not there, or were replaced after the run was submitted.
    """
    if not config.applies_digest:
        return None
    own = config.dataset == "own_images"
    found = load_own_images(config.own_images, folder) if own else load_images(config.dataset, folder)
    if config.data_digest:
        check_digest(config, content_digest(image_arrays(found)))
    if found.labels.max() + 1 != config.classes:
        raise ImageError(f"{data_name(config)} has {found.labels.max() + 1} classes; {config.classes} were submitted.")
    return found


def make_split(config: RankCollapseConfig, seed: int, images: LabelledImages | None = None) -> LabelledSplit:
    """The data of one seed.

    The mixture is drawn twice as large as asked for and cut in two class by class; digits and other images are split by
    class at random (ours: the published split is not kept), the latter into at most 10,000 test rows.
    """
    if config.dataset == "mixture":
        split = _mixture_split(config, seed)
        return _whitened(split) if config.whitened else split
    if config.dataset == "digits":
        split = load_digits(seed)
        kept = slice(config.image_samples)
        return replace(split, train_rows=split.train_rows[kept], train_labels=split.train_labels[kept])
    assert images is not None
    return _image_split(config, seed, images)


def _mixture_split(config: RankCollapseConfig, seed: int) -> LabelledSplit:
    rows, labels = make_mixture(
        2 * config.num_samples,
        config.dimension,
        config.num_classes,
        separation=config.cluster_separation,
        noise=config.cluster_noise,
        seed=seed,
        imbalance=config.imbalance,
    )
    # the 1st, 3rd, 5th ... row of every class trains: sizes depend on the config alone, never on the seed
    members = labels[:, None] == torch.arange(config.num_classes)
    trains = (members.cumsum(0)[torch.arange(len(labels)), labels] % 2).bool()
    return LabelledSplit(rows[trains], labels[trains], rows[~trains], labels[~trains])


def _whitened(split: LabelledSplit) -> LabelledSplit:
    """Training rows with second moment I; test rows by the same linear map."""
    train = split.train_rows.double().numpy()
    white = whitened_inputs(train)
    linear_map = np.linalg.lstsq(train, white, rcond=None)[0]
    test = split.test_rows.double() @ torch.from_numpy(linear_map)
    return replace(split, train_rows=torch.from_numpy(white), test_rows=test)


def _image_split(config: RankCollapseConfig, seed: int, found: LabelledImages) -> LabelledSplit:
    images, labels = found.images, found.labels
    most = int(OWN_TRAINING_SHARE * len(labels)) if config.dataset == "own_images" else len(labels)
    num_train = min(config.image_samples, most)
    num_test = min(MOST_TEST_IMAGES, len(labels) - num_train)
    if num_test < config.classes:
        raise ImageError(f"image_samples = {config.image_samples} leaves no test rows: ask for fewer.")
    sizes = {"train_size": num_train, "test_size": num_test}
    state = stream_seed(Purpose.SPLIT, seed)
    train, test = train_test_split(np.arange(len(labels)), **sizes, random_state=state, stratify=labels)
    chosen = np.concatenate([train, test])
    cut = torch.arange(len(chosen))
    rows, targets = torch.from_numpy(images[chosen]).double(), torch.from_numpy(labels[chosen])
    return standardized_split(rows, targets, cut[: len(train)], cut[len(train) :])
