"""The probe against scikit-learn (weights, accuracies, choice of C, macro-F1), and its protocol by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import normalize
from torch import Tensor

from werank_core.datasets.splits import cross_validated_splits
from werank_core.metrics import logistic
from werank_core.metrics import probe as probe_module
from werank_core.metrics.logistic import Classifier, logistic_path
from werank_core.metrics.probe import ProbeSplits, macro_f1, probe, splits_from_masks

CLASSIFIERS: tuple[Classifier, ...] = ("multinomial", "one_vs_rest")
FEW_CS = (2.0**-6, 1.0, 2.0**4, 2.0**8)


def clusters(samples: int, features: int, classes: int, seed: int = 0, noise: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (samples,), generator=generator)
    labels[:classes] = torch.arange(classes)
    means = torch.randn(classes, features, generator=generator)
    scales = torch.arange(1, features + 1).float() ** -0.5
    points = (means[labels] + 2 * noise * torch.randn(samples, features, generator=generator)) * scales + 0.3
    return points, labels


def random_splits(samples: int, count: int, train: int, validation: int, seed: int = 0) -> ProbeSplits:
    generator = torch.Generator().manual_seed(seed)
    order = torch.stack([torch.randperm(samples, generator=generator) for _ in range(count)])
    return ProbeSplits(order[:, :train], order[:, train : train + validation], order[:, train + validation :])


def sklearn_model(classifier: Classifier, c: float) -> LogisticRegression | OneVsRestClassifier:
    if classifier == "multinomial":
        return LogisticRegression(C=c, tol=1e-9, max_iter=20_000)
    binary = LogisticRegression(C=c, solver="liblinear", tol=1e-9, max_iter=20_000, random_state=0)
    return OneVsRestClassifier(binary)


def sklearn_scores(
    points: Tensor, labels: Tensor, splits: ProbeSplits, split: int, classifier: Classifier
) -> tuple[np.ndarray, float, float, float]:
    """Validation curve, best C, test accuracy and macro-F1 of one split."""
    rows, y = normalize(points.double().numpy()), labels.numpy()
    train, validation, test = (part[split].numpy() for part in (splits.train, splits.validation, splits.test))
    models = [sklearn_model(classifier, c).fit(rows[train], y[train]) for c in FEW_CS]
    curve = np.array([model.score(rows[validation], y[validation]) for model in models])
    predicted = models[curve.argmax()].predict(rows[test])
    return curve, FEW_CS[curve.argmax()], np.mean(predicted == y[test]), f1_score(y[test], predicted, average="macro")


@pytest.mark.parametrize("classifier", CLASSIFIERS)
@pytest.mark.parametrize("shape", [(60, 5), (30, 40)])
def test_scores_are_those_of_scikit_learn(classifier: Classifier, shape: tuple[int, int]) -> None:
    points, labels = clusters(*shape, classes=3)
    points = torch.nn.functional.normalize(points)
    path = logistic_path(points[None], labels[None], 3, torch.tensor(FEW_CS), classifier, tolerance=1e-5)
    scores = torch.einsum("nd,ckd->cnk", points, path.weight[0]) + path.bias[0][:, None]
    for column, c in enumerate(FEW_CS):
        expected = sklearn_model(classifier, c).fit(points.numpy(), labels.numpy()).decision_function(points.numpy())
        found = scores[column] if classifier == "one_vs_rest" else scores[column] - scores[column].mean(1, keepdim=True)
        if classifier == "multinomial":
            expected = expected - expected.mean(1, keepdims=True)
        np.testing.assert_allclose(found, expected, rtol=5e-3, atol=5e-3 * np.abs(expected).max())


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_gradient_of_the_objective_vanishes(classifier: Classifier) -> None:
    points, labels = clusters(80, 6, classes=4)
    cs = torch.tensor(FEW_CS)
    path = logistic_path(points[None], labels[None], 4, cs, classifier, tolerance=1e-5)
    weight, bias = path.weight[0].double().requires_grad_(), path.bias[0].double().requires_grad_()
    scores = torch.einsum("nd,ckd->cnk", points.double(), weight) + bias[:, None]
    penalty = weight.square().sum() / 2
    if classifier == "multinomial":
        nll = -torch.log_softmax(scores, -1)[:, torch.arange(80), labels].sum(1)
    else:
        member = torch.nn.functional.one_hot(labels, 4).double()
        nll = torch.nn.functional.binary_cross_entropy_with_logits(scores, member.expand_as(scores), reduction="none")
        nll, penalty = nll.sum((1, 2)), penalty + bias.square().sum() / 2
    ((cs * nll).sum() + penalty).backward()
    assert weight.grad is not None
    assert bias.grad is not None
    start = (torch.nn.functional.one_hot(labels, 4).double() - 0.25).T @ points.double()
    assert (weight.grad.square().sum((1, 2)).sqrt() / cs < 1e-4 * start.norm()).all()
    assert (bias.grad.square().sum(1).sqrt() / cs < 1e-4 * len(points)).all()


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_twenty_splits_agree_with_scikit_learn(classifier: Classifier) -> None:
    points, labels = clusters(420, 16, classes=4, noise=0.7)
    splits = random_splits(420, 20, train=60, validation=60)
    result = probe(points[None], labels, splits, classifier, FEW_CS)
    expected = [sklearn_scores(points, labels, splits, split, classifier) for split in range(20)]
    curves, best_c, accuracy, f1 = (np.array(part) for part in zip(*expected, strict=True))
    assert abs(result.accuracy[0].mean().item() - accuracy.mean()) < 0.002
    assert abs(result.macro_f1[0].mean().item() - f1.mean()) < 0.004
    assert np.abs(result.validation_accuracy[0].numpy() - curves).mean() < 0.002
    assert (result.best_c[0].numpy() == best_c).mean() >= 0.8
    assert 0.4 < accuracy.mean() < 0.95  # neither chance nor solved: agreement means something


def authors_scores(points: Tensor, labels: Tensor, splits: ProbeSplits, split: int) -> tuple[float, float, float]:
    """Grid score, C and test accuracy as `fit_logistic_regression` of nerdslab/bgrl has them, on a given split."""
    rows, targets = normalize(points.double().numpy()), np.eye(int(labels.max()) + 1, dtype=bool)[labels.numpy()]
    assert splits.fitting is not None
    train, test = splits.train[split].numpy(), splits.test[split].numpy()
    folds = [
        (np.searchsorted(np.sort(train), fit), np.searchsorted(np.sort(train), score))
        for fit, score in zip(splits.fitting[split].numpy(), splits.validation[split].numpy(), strict=True)
    ]
    binary = LogisticRegression(solver="liblinear", tol=1e-9, max_iter=20_000, random_state=0)
    search = GridSearchCV(OneVsRestClassifier(binary), {"estimator__C": list(FEW_CS)}, cv=folds)
    search.fit(rows[np.sort(train)], targets[np.sort(train)])
    predicted = search.predict_proba(rows[test]).argmax(1)
    return search.best_score_, search.best_params_["estimator__C"], np.mean(predicted == labels[test].numpy())


def test_the_bgrl_protocol_is_that_of_the_authors_code() -> None:
    """GridSearchCV scores a one-hot target by exact matches, picks C, and fits it again on all of the 20%."""
    points, labels = clusters(420, 16, classes=4, noise=0.7)
    splits = cross_validated_splits(labels, 12, seed=3)
    result = probe(points[None], labels, splits, "one_vs_rest", FEW_CS, tolerance=1e-4)
    expected = [authors_scores(points, labels, splits, split) for split in range(12)]
    best, best_c, accuracy = (np.array(part) for part in zip(*expected, strict=True))
    assert (result.best_c[0].numpy() == best_c).mean() >= 0.9
    assert np.abs(result.validation_accuracy[0].numpy().max(1) - best).max() < 0.006
    assert abs(result.accuracy[0].mean().item() - accuracy.mean()) < 0.002
    plain = probe(points[None], labels, splits, "multinomial", FEW_CS)
    assert abs(plain.validation_accuracy.mean() - result.validation_accuracy.mean()) > 0.02, "exact matches are fewer"


def test_the_bgrl_protocol_fits_again_on_all_training_rows() -> None:
    points, labels = clusters(200, 8, classes=3)
    splits = cross_validated_splits(labels, 3, seed=0)
    for classifier in CLASSIFIERS:
        result = probe(points[None], labels, splits, classifier, (1.0,))
        again = ProbeSplits(splits.train, splits.train, splits.test)
        assert torch.equal(result.accuracy, probe(points[None], labels, again, classifier, (1.0,)).accuracy)


def test_the_bgrl_protocol_in_blocks_and_runs_gives_the_same() -> None:
    runs, labels = zip(*(clusters(120, 8, 3, seed) for seed in range(2)), strict=True)
    splits = cross_validated_splits(labels[0], 4, seed=0)
    together = probe(torch.stack(runs), torch.stack(labels), splits, "one_vs_rest", FEW_CS)
    alone = probe(runs[1][None], labels[1], splits, "one_vs_rest", FEW_CS)
    assert torch.equal(together.accuracy[1], alone.accuracy[0])
    assert torch.equal(together.validation_accuracy[1], alone.validation_accuracy[0])


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_every_training_set_may_have_its_own_c(classifier: Classifier) -> None:
    points, labels = clusters(90, 6, classes=3)
    rows, targets = points[torch.arange(90).view(3, 30)], labels[torch.arange(90).view(3, 30)]
    own = logistic_path(rows, targets, 3, torch.tensor([[0.5], [8.0], [64.0]]), classifier, tolerance=1e-5)
    for index, c in enumerate((0.5, 8.0, 64.0)):
        alone = logistic_path(rows[[index]], targets[[index]], 3, torch.tensor([c]), classifier, tolerance=1e-5)
        torch.testing.assert_close(own.weight[index], alone.weight[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_default_tolerance_is_enough(classifier: Classifier) -> None:
    points, labels = clusters(300, 24, classes=5)
    splits = random_splits(300, 6, train=60, validation=60)
    loose = probe(points[None], labels, splits, classifier)
    tight = probe(points[None], labels, splits, classifier, tolerance=1e-5)
    assert (loose.validation_accuracy - tight.validation_accuracy).abs().mean() < 0.002
    assert len(loose.cs) == 21


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_runs_do_not_depend_on_each_other(classifier: Classifier) -> None:
    runs, labels = zip(*(clusters(90, 8, 3, seed) for seed in range(3)), strict=True)
    stacked, own = torch.stack(runs), torch.stack(labels)
    splits = random_splits(90, 3, train=30, validation=30)
    result = probe(stacked, own, splits, classifier, FEW_CS)
    for run in range(3):
        solo = probe(runs[run][None], labels[run], splits, classifier, FEW_CS)
        for name in ("accuracy", "macro_f1", "best_c", "validation_accuracy"):
            assert torch.equal(getattr(result, name)[run], getattr(solo, name)[0])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_run_is_nan_and_its_neighbours_bit_identical(bad: float) -> None:
    runs = torch.stack([clusters(90, 8, 3, seed)[0] for seed in range(3)])
    labels, splits = clusters(90, 8, 3)[1], random_splits(90, 3, train=30, validation=30)
    expected = probe(runs, labels, splits, cs=FEW_CS)
    runs[1, 4, 2] = bad
    result = probe(runs, labels, splits, cs=FEW_CS)
    for name in ("accuracy", "macro_f1", "best_c", "validation_accuracy"):
        assert getattr(result, name)[1].isnan().all()
        assert torch.equal(getattr(result, name)[[0, 2]], getattr(expected, name)[[0, 2]])


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_blocks_of_splits_do_not_change_results(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    points, labels = clusters(200, 12, 4)
    splits = random_splits(200, 5, train=50, validation=50)
    together = probe(points[None], labels, splits, classifier)
    monkeypatch.setattr(probe_module, "BLOCK_ELEMENTS", 1)
    alone = probe(points[None], labels, splits, classifier)
    torch.testing.assert_close(alone.accuracy, together.accuracy, atol=0.011, rtol=0)  # rounding may flip one sample
    torch.testing.assert_close(alone.validation_accuracy, together.validation_accuracy, atol=0.021, rtol=0)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
@pytest.mark.parametrize("scale", [5.0, 50.0])
def test_every_start_ends_at_the_minimum(classifier: Classifier, scale: float) -> None:
    """Far from it predictions are saturated and wrong: Newton steps overshoot and have to be taken back."""
    points, labels = clusters(80, 6, classes=4)
    design = logistic._design(points[None].double(), labels[None], 4, classifier)
    start = logistic._start(design, torch.tensor(FEW_CS))
    expected = logistic._minimised(design, start, 1e-5, 1000)
    far = logistic._start(design, torch.tensor(FEW_CS))
    far.position = far.position + scale * torch.randn(far.position.shape, generator=torch.Generator().manual_seed(0))
    far.scores = design.product(far.position)
    assert (design.shares(far.scores) - design.shares(design.product(expected))).abs().max() > 0.5
    found = logistic._minimised(design, far, 1e-5, 1000)
    torch.testing.assert_close(
        design.shares(design.product(found)), design.shares(design.product(expected)), rtol=0, atol=0.01
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), features=st.integers(1, 40), rank=st.integers(0, 3), classes=st.integers(1, 4))
def test_degenerate_representations_still_get_a_score(seed: int, features: int, rank: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(40, rank, generator=generator) @ torch.randn(rank, features, generator=generator)
    labels = torch.randint(classes, (40,), generator=generator)
    for classifier in CLASSIFIERS:
        result = probe(points[None], labels, random_splits(40, 2, 12, 12, seed), classifier, FEW_CS)
        assert ((result.accuracy >= 0) & (result.accuracy <= 1)).all()
        assert ((result.macro_f1 >= 0) & (result.macro_f1 <= 1)).all()


def test_probe_is_deterministic_and_leaves_the_global_generators_alone() -> None:
    points, labels = clusters(90, 8, 3)
    splits = random_splits(90, 3, train=30, validation=30)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = probe(points[None], labels, splits)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(first.validation_accuracy, probe(points[None], labels, splits).validation_accuracy)


def test_scale_of_the_rows_does_not_matter() -> None:
    points, labels = clusters(90, 8, 3)
    splits = random_splits(90, 3, train=30, validation=30)
    scaled = points * torch.linspace(1e-3, 1e3, 90)[:, None]
    assert torch.equal(probe(scaled[None], labels, splits).accuracy, probe(points[None], labels, splits).accuracy)
    for scale in (1e-300, 1e-14, 1e14, 1e300):
        extreme = probe(scale * points[None].double(), labels, splits)
        assert torch.equal(extreme.accuracy, probe(points[None].double(), labels, splits).accuracy)


def test_separable_classes_are_read_off_and_constant_rows_give_the_majority() -> None:
    labels = torch.arange(60) % 3
    splits = random_splits(60, 4, train=30, validation=15)
    assert (probe(torch.eye(3)[labels][None], labels, splits).accuracy == 1).all()
    uneven = torch.where(torch.arange(60) % 4 > 0, 0, labels)
    result = probe(torch.ones(1, 60, 5), uneven, splits)
    majority = (uneven[splits.test] == 0).double().mean(1)
    torch.testing.assert_close(result.accuracy[0], majority)


def test_test_rows_never_influence_training_or_choice() -> None:
    points, labels = clusters(90, 8, 3)
    splits = random_splits(90, 1, train=30, validation=30)
    result = probe(points[None], labels, splits)
    points[splits.test[0]] = 5.0
    assert torch.equal(probe(points[None], labels, splits).validation_accuracy, result.validation_accuracy)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_a_class_missing_from_training_is_never_predicted(classifier: Classifier) -> None:
    points, labels = clusters(90, 6, 3)
    train = (labels != 2).nonzero()[:40, 0]
    path = logistic_path(points[train][None], labels[train][None], 3, torch.tensor(FEW_CS), classifier)
    assert (path.bias[0, :, 2] == -torch.inf).all()
    assert path.weight.isfinite().all()
    seen = logistic_path(points[train][None], labels[train][None], 2, torch.tensor(FEW_CS), classifier)
    torch.testing.assert_close(path.weight[:, :, :2], seen.weight, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_padding_changes_nothing(classifier: Classifier) -> None:
    points, labels = clusters(90, 8, 3)
    splits = random_splits(90, 2, train=30, validation=30)
    padding = torch.full((2, 7), -1)
    padded = ProbeSplits(*(torch.cat([part, padding], 1) for part in (splits.train, splits.validation, splits.test)))
    expected, result = (probe(points[None], labels, each, classifier, FEW_CS) for each in (splits, padded))
    torch.testing.assert_close(result.accuracy, expected.accuracy, atol=0.034, rtol=0)
    torch.testing.assert_close(result.validation_accuracy, expected.validation_accuracy, atol=0.034, rtol=0)


def test_splits_from_masks_number_the_rows() -> None:
    train = torch.tensor([[1, 0], [1, 1], [0, 0], [0, 0]]).bool()
    splits = splits_from_masks(train, torch.tensor([0, 0, 1, 0]).bool(), torch.tensor([0, 0, 0, 1]).bool())
    assert splits.train.tolist() == [[0, 1], [1, -1]]
    assert splits.validation.tolist() == [[2], [2]]
    assert splits.test.tolist() == [[3], [3]]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), samples=st.integers(1, 30), classes=st.integers(1, 6), guessed=st.integers(1, 6))
def test_macro_f1_is_scikit_learns(seed: int, samples: int, classes: int, guessed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(classes, size=samples), rng.integers(guessed, size=samples)
    counted = torch.ones(samples, dtype=torch.bool)
    value = macro_f1(torch.from_numpy(predicted), torch.from_numpy(truth), 6, counted).item()
    assert value == pytest.approx(f1_score(truth, predicted, average="macro"))


def test_errors_name_what_is_wrong() -> None:
    points, labels = clusters(90, 8, 3)
    splits = random_splits(90, 3, train=30, validation=30)
    with pytest.raises(ValueError, match=r"representations has shape \(90, 8\)"):
        probe(points, labels, splits)
    with pytest.raises(ValueError, match=r"labels has shape \(89,\); give one label for each of the 90"):
        probe(points[None], labels[:-1], splits)
    with pytest.raises(ValueError, match="every C must be positive"):
        probe(points[None], labels, splits, cs=(0.0, 1.0))
    with pytest.raises(ValueError, match=r"names row 89; the samples are numbered 0\.\.79"):
        probe(points[None, :80], labels[:80], splits)
    with pytest.raises(ValueError, match="holds a sample without a label"):
        probe(points[None], torch.full((90,), -1), splits)
    with pytest.raises(ValueError, match="validation is empty in a split"):
        ProbeSplits(splits.train, torch.full((3, 4), -1), splits.test)
    with pytest.raises(ValueError, match=r"validation has shape \(3, 30\)"):
        ProbeSplits(splits.train, splits.validation, splits.test, splits.train[:, None])
    with pytest.raises(ValueError, match=r"test has shape \(2, 30\)"):
        ProbeSplits(splits.train, splits.validation, splits.test[:2])
