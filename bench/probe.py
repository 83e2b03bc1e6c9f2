"""The probe against scikit-learn's grid: the same splits, the same 21 values of C, the same choice of C.

`python -m bench.probe [--write] [--splits N] [--threads N]`: an untrained two-layer GCN on a block model of Cora's
size; scikit-learn and ours take turns, on equally many threads. `holdout` chooses on validation nodes, `bgrl` by a grid
search inside the training nodes as BGRL's authors have it. `--write` puts the table into the README.
"""

import argparse
import statistics
import time
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from threadpoolctl import threadpool_limits
from torch import Tensor

from bench.measure import machine, write_block
from werank_core.datasets.block_model import make_block_model
from werank_core.datasets.splits import cross_validated_splits
from werank_core.metrics.logistic import Classifier
from werank_core.metrics.probe import DEFAULT_CS, ProbeResult, ProbeSplits, probe

NODES, CLASSES, TRAIN, VALIDATION = 2708, 7, 270, 271


def representations(features: int) -> tuple[Tensor, Tensor]:
    """(1, N, D) rows of norm 1 and (N,) labels: random weights, real propagation, accuracy well below 1."""
    graph = make_block_model(
        NODES, CLASSES, homophily=0.81, average_degree=3.9, feature_dimension=512, feature_signal=0.1
    )
    source, target = torch.from_numpy(graph.edge_index)
    loops = torch.arange(NODES)
    index = torch.stack([torch.cat([source, loops]), torch.cat([target, loops])])
    scale = torch.bincount(index[0]).float().rsqrt()
    values = scale[index[0]] * scale[index[1]]
    propagation = torch.sparse_coo_tensor(index, values, (NODES, NODES), check_invariants=True)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.as_tensor(graph.features)
    for width in (512, features):
        weight = torch.randn(hidden.shape[1], width, generator=generator) / hidden.shape[1] ** 0.5
        hidden = torch.sparse.mm(propagation, hidden @ weight)
        hidden = torch.nn.functional.leaky_relu((hidden - hidden.mean(0)) / hidden.std(0), 0.25)
    return torch.nn.functional.normalize(hidden)[None], torch.from_numpy(graph.labels)


def random_splits(count: int) -> ProbeSplits:
    """10/10/80 splits of the nodes."""
    generator = torch.Generator().manual_seed(1)
    order = torch.stack([torch.randperm(NODES, generator=generator) for _ in range(count)])
    return ProbeSplits(order[:, :TRAIN], order[:, TRAIN : TRAIN + VALIDATION], order[:, TRAIN + VALIDATION :])


def sklearn_accuracy(rows: np.ndarray, labels: np.ndarray, splits: ProbeSplits, split: int, kind: Classifier) -> float:
    """Test accuracy of scikit-learn with its defaults, C chosen as the splits ask."""
    train, validation, test = (part[split].numpy() for part in (splits.train, splits.validation, splits.test))
    if splits.fitting is not None:
        place = {row: index for index, row in enumerate(train.tolist())}
        parts = zip(splits.fitting[split].tolist(), validation.tolist(), strict=True)
        folds = [tuple(np.array([place[row] for row in rows]) for rows in part) for part in parts]
        estimator = OneVsRestClassifier(LogisticRegression(solver="liblinear", random_state=0))
        search = GridSearchCV(estimator, {"estimator__C": list(DEFAULT_CS)}, cv=folds)
        search.fit(rows[train], np.eye(CLASSES, dtype=bool)[labels[train]])
        return float((search.predict_proba(rows[test]).argmax(1) == labels[test]).mean())
    best, best_score = None, -1.0
    for c in DEFAULT_CS:
        model = LogisticRegression(C=c)
        if kind == "one_vs_rest":
            model = OneVsRestClassifier(LogisticRegression(C=c, solver="liblinear", random_state=0))
        model.fit(rows[train], labels[train])
        score = model.score(rows[validation], labels[validation])
        if score > best_score:
            best, best_score = model, score
    assert best is not None
    return float(best.score(rows[test], labels[test]))


def compared(features: int, kind: Classifier, splits: ProbeSplits) -> tuple[float, float, float, float]:
    """Seconds a split of scikit-learn and of ours, and both mean accuracies.

    One probe of all splits (how it is used) follows every scikit-learn split; the median of those probes counts.
    """
    rows, labels = representations(features)
    ours: list[float] = []
    theirs: list[float] = []
    accuracy: list[float] = []
    result = probe(rows, labels, splits, kind)
    for split in range(len(splits)):
        start = time.perf_counter()
        accuracy.append(sklearn_accuracy(rows[0].numpy(), labels.numpy(), splits, split, kind))
        theirs.append(time.perf_counter() - start)
        start = time.perf_counter()
        result = probe(rows, labels, splits, kind)
        ours.append((time.perf_counter() - start) / len(splits))
    return statistics.median(theirs), statistics.median(ours), statistics.mean(accuracy), _mean_accuracy(result)


def _mean_accuracy(result: ProbeResult) -> float:
    return float(result.accuracy.mean())


def main() -> None:
    """Print the table; last line `ratio: X` for one-vs-rest with holdout at D = 256."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    threadpool_limits(arguments.threads)
    warnings.simplefilter("ignore", ConvergenceWarning)
    splits = {"holdout": random_splits(arguments.splits)}
    splits["bgrl"] = cross_validated_splits(representations(16)[1], arguments.splits)
    lines = [
        "| probe, 21 values of C | protocol | D | scikit-learn, ms a split | ours | faster | its accuracy | ours |",
        "|---|---|---|---|---|---|---|---|",
    ]
    ratios: dict[tuple[str, str, int], float] = {}
    cases: tuple[tuple[Classifier, str], ...] = (
        ("one_vs_rest", "holdout"), ("multinomial", "holdout"), ("one_vs_rest", "bgrl"),
    )  # fmt: skip
    for kind, protocol in cases:
        for features in (128, 256):
            theirs, ours, expected, found = compared(features, kind, splits[protocol])
            ratios[kind, protocol, features] = theirs / ours
            lines.append(
                f"| {kind} | {protocol} | {features} | {1e3 * theirs:.0f} | {1e3 * ours:.1f} | {theirs / ours:.1f} "
                f"| {expected:.4f} | {found:.4f} |"
            )
    lines.append(f"\n{arguments.splits} splits of 2,708 nodes, 7 classes. {machine()}.")
    print("\n".join(lines))
    if arguments.write:
        write_block("probe", "\n".join(lines))
    print(f"ratio: {ratios['one_vs_rest', 'holdout', 256]:.2f}")


if __name__ == "__main__":
    main()
