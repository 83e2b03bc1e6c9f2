"""Linear probe: how well a logistic regression reads the labels off frozen, L2-normalised representations."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from werank_core.metrics.logistic import Classifier, LinearClassifiers, logistic_path
from werank_core.metrics.scaling import finite_or_zero

DEFAULT_CS = tuple(2.0**power for power in range(-10, 11))
BLOCK_ELEMENTS = 500_000  # coefficients and scores solved together on a CPU: 5 to 8 splits of Cora, still in cache


@dataclass(frozen=True)
class ProbeSplits:
    """Row numbers of S splits, each tensor (S, n) int64; rows of unequal length are filled up with −1.

    Without `fitting` the protocol is holdout: every C is fitted on `train`, the best on `validation` (S, n) is kept as
    it is. With it C is cross-validated: every C is fitted on the F parts `fitting` (S, F, n), the best on average over
    the F parts `validation` (S, F, n) is fitted again on all of `train`.
    """

    train: Tensor
    validation: Tensor
    test: Tensor
    fitting: Tensor | None = None

    def __post_init__(self) -> None:
        folds = self.train.shape[:1] if self.fitting is None else self.fitting.shape[:2]
        expected = {"train": self.train.shape[:1], "validation": folds, "test": self.train.shape[:1], "fitting": folds}
        for name, rows in self.parts().items():
            if rows.ndim != len(expected[name]) + 1 or rows.shape[:-1] != expected[name]:
                raise ValueError(f"{name} has shape {tuple(rows.shape)}; it needs one row of sample numbers a split.")
            if not (rows >= 0).any(-1).all():
                raise ValueError(f"{name} is empty in a split; every split needs samples of each kind.")

    def __len__(self) -> int:
        return len(self.train)

    def parts(self) -> dict[str, Tensor]:
        """The parts that there are, by name."""
        return {name: rows for name, rows in vars(self).items() if rows is not None}

    def moved(self, device: torch.device, first: int = 0, last: int | None = None) -> "ProbeSplits":
        """Splits first..last − 1 on a device."""
        return ProbeSplits(**{name: rows[first:last].to(device) for name, rows in self.parts().items()})


@dataclass(frozen=True)
class ProbeResult:
    """What R runs scored on S splits, float64; NaN for a run with a non-finite representation."""

    accuracy: Tensor  # (R, S) on the test rows, in [0, 1]
    macro_f1: Tensor  # (R, S) on the test rows, in [0, 1]
    best_c: Tensor  # (R, S) the smallest C with the highest validation accuracy
    validation_accuracy: Tensor  # (R, S, C), mean over the parts where C is cross-validated
    cs: tuple[float, ...]


def splits_from_masks(train: Tensor, validation: Tensor, test: Tensor) -> ProbeSplits:
    """Splits from boolean masks (N,) or (N, S), as PyG data sets carry them; sizes may differ between splits."""
    columns = [mask.reshape(len(mask), -1) for mask in (train, validation, test)]
    count = max(mask.shape[1] for mask in columns)
    return ProbeSplits(*(_padded_rows(mask.expand(-1, count)) for mask in columns))


def _padded_rows(masks: Tensor) -> Tensor:
    rows = [mask.nonzero()[:, 0] for mask in masks.T]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)


@torch.no_grad()
def probe(
    representations: Tensor,
    labels: Tensor,
    splits: ProbeSplits,
    classifier: Classifier = "multinomial",
    cs: Sequence[float] = DEFAULT_CS,
    tolerance: float = 2e-3,
) -> ProbeResult:
    """Test accuracy and macro-F1 of logistic regression on L2-normalised rows, C chosen on the validation rows.

    How it is chosen, and on what the winner is fitted, is the protocol that `ProbeSplits` describes. Of several C with
    the highest validation accuracy the smallest wins. A cross-validated one-vs-rest classifier is scored as the
    authors' grid search scores it: a row counts where its own class, and no other, has a positive score.
    Deterministic: nothing is drawn. Runs are solved one after another, the splits of a run together, so a run's numbers
    do not depend on the other runs. Objective and intercept: see `metrics/logistic.py`.

    Args: representations (R, N, D); labels (N,) or (R, N), classes 0..K−1; splits of the N rows; cs, positive.
    Returns: see `ProbeResult`. Classes missing from a training split are never predicted; macro-F1 is over the classes
        that occur in the test rows or the predictions.
    Raises: ValueError for other shapes, rows outside 0..N−1, negative labels in a split, or a C that is not positive.
    Source: Thakoor et al. 2022: one_vs_rest cross-validated is their `fit_logistic_regression`, with holdout their
        `fit_logistic_regression_preset_splits`. Multinomial is ours and the default.
    """
    _check(representations, labels, splits, cs)
    device = representations.device
    ordered = torch.tensor(sorted(cs), dtype=torch.float64, device=device)
    rows, finite = finite_or_zero(representations)
    labels = labels.to(device).expand(rows.shape[:-1])
    parts = [
        _run_scores(run, own, splits, classifier, ordered, tolerance) if ok else _no_scores(splits, ordered)
        for run, own, ok in zip(rows, labels, finite.tolist(), strict=True)
    ]
    accuracy, macro_f1, best_c, curve = (torch.stack(part) for part in zip(*parts, strict=True))
    return ProbeResult(accuracy, macro_f1, best_c, curve, tuple(ordered.tolist()))


def _check(representations: Tensor, labels: Tensor, splits: ProbeSplits, cs: Sequence[float]) -> None:
    if representations.ndim != 3:
        raise ValueError(
            f"representations has shape {tuple(representations.shape)}; it must be (runs, samples, features)."
        )
    samples = representations.shape[1]
    if labels.shape not in (torch.Size([samples]), representations.shape[:2]):
        raise ValueError(f"labels has shape {tuple(labels.shape)}; give one label for each of the {samples} samples.")
    if not cs or min(cs) <= 0:
        raise ValueError(f"cs is {tuple(cs)}; every C must be positive.")
    for name, rows in splits.parts().items():
        if rows.max() >= samples or rows.min() < -1:
            raise ValueError(f"{name} names row {int(rows.max())}; the samples are numbered 0..{samples - 1}.")
        if labels[..., rows[rows >= 0].to(labels.device)].min() < 0:
            raise ValueError(f"{name} holds a sample without a label; leave it out of the split.")


_Scores = tuple[Tensor, Tensor, Tensor, Tensor]  # accuracy, macro-F1 and best C (S,), validation curve (S, C)


def _no_scores(splits: ProbeSplits, cs: Tensor) -> _Scores:
    empty = cs.new_full((len(splits),), torch.nan)
    return empty, empty, empty, cs.new_full((len(splits), len(cs)), torch.nan)


def _run_scores(
    rows: Tensor, labels: Tensor, splits: ProbeSplits, classifier: Classifier, cs: Tensor, tolerance: float
) -> _Scores:
    # a row in units of its largest entry first: the norm of a tiny or huge one would be lost
    largest = rows.abs().amax(-1, keepdim=True)
    normalised = torch.nn.functional.normalize(rows / torch.where(largest > 0, largest, 1.0), dim=-1).float()
    block = _splits_at_once(splits, rows, (int(labels.max()) + 1) * len(cs))
    parts = [
        _block_scores(normalised, labels, splits.moved(rows.device, first, first + block), classifier, cs, tolerance)
        for first in range(0, len(splits), block)
    ]
    accuracy, macro_f1, best_c, curve = (torch.cat(part) for part in zip(*parts, strict=True))
    return accuracy, macro_f1, best_c, curve


def _splits_at_once(splits: ProbeSplits, rows: Tensor, problems: int) -> int:
    if rows.device.type != "cpu":
        return len(splits)
    fitted = splits.train[:, None] if splits.fitting is None else splits.fitting
    samples = fitted.shape[-1]
    return max(1, BLOCK_ELEMENTS // (fitted.shape[1] * problems * (samples + min(samples, rows.shape[-1]))))


def _block_scores(
    rows: Tensor, labels: Tensor, splits: ProbeSplits, classifier: Classifier, cs: Tensor, tolerance: float
) -> _Scores:
    def fitted(index: Tensor, grid: Tensor) -> LinearClassifiers:
        targets = labels[index].masked_fill(index < 0, -1)
        return logistic_path(rows[index], targets, int(labels.max()) + 1, grid, classifier, tolerance)

    if splits.fitting is None:
        path = fitted(splits.train, cs)
        curve = _validation_accuracy(rows, labels, splits.validation, path)
        best = curve.argmax(-1)
        chosen = _at(path, best)
    else:
        path = fitted(splits.fitting.flatten(0, 1), cs)
        exact = classifier == "one_vs_rest"
        scores = _validation_accuracy(rows, labels, splits.validation.flatten(0, 1), path, exact=exact)
        curve = scores.view(*splits.fitting.shape[:2], -1).mean(1)
        best = curve.argmax(-1)
        chosen = _at(fitted(splits.train, cs[best][:, None]), torch.zeros_like(best))
    accuracy, macro_f1 = _test_scores(rows, labels, splits.test, chosen)
    return accuracy, macro_f1, cs[best], curve


def _validation_accuracy(
    rows: Tensor, labels: Tensor, index: Tensor, path: LinearClassifiers, *, exact: bool = False
) -> Tensor:
    """(S, C) share of correct predictions; `exact`: the positive scores must be that of the own class alone."""
    scores = torch.bmm(path.weight.flatten(1, 2), rows[index].mT).view(*path.bias.shape, -1) + path.bias[..., None]
    real = (index >= 0)[:, None]
    correct = (scores.max(2).indices == labels[index][:, None]) & real
    if exact:
        correct &= (scores > 0).sum(2) == 1
    return correct.sum(-1).double() / real.sum(-1)


def _at(path: LinearClassifiers, choice: Tensor) -> LinearClassifiers:
    """The classifier (S, K, D), (S, K) of one C in each split."""
    split = torch.arange(len(choice), device=choice.device)
    return LinearClassifiers(path.weight[split, choice], path.bias[split, choice])


def _test_scores(rows: Tensor, labels: Tensor, index: Tensor, chosen: LinearClassifiers) -> tuple[Tensor, Tensor]:
    scores = chosen.weight @ rows.mT + chosen.bias[..., None]
    predicted = scores.max(1).indices.gather(1, index.clamp_min(0))
    real = index >= 0
    truth = labels[index.clamp_min(0)].clamp_min(0)  # padding may point at a sample without a label
    accuracy = ((predicted == truth) & real).sum(1).double() / real.sum(1)
    return accuracy, macro_f1(predicted, truth, chosen.bias.shape[-1], real)


def macro_f1(predicted: Tensor, truth: Tensor, num_classes: int, counted: Tensor) -> Tensor:
    """The mean over classes of F1 = 2 TP/(predicted + true), over the classes that occur in either.

    Args: predicted and truth (..., n) in 0..K−1; counted (..., n), False for padding.
    Returns: (...), in [0, 1] float64.
    """
    guesses = torch.nn.functional.one_hot(predicted, num_classes) * counted[..., None]
    members = torch.nn.functional.one_hot(truth, num_classes) * counted[..., None]
    total = (guesses.sum(-2) + members.sum(-2)).double()
    f1 = 2 * (guesses * members).sum(-2) / total.clamp_min(1)
    share: Tensor = f1.sum(-1) / (total > 0).sum(-1)
    return share
