"""Logistic regression for every regularization C and several training sets at once: the solver behind the probe.

The objective is scikit-learn's `LogisticRegression`: C Σᵢ lossᵢ + ½‖w‖², divided here by C. `multinomial` has the
softmax loss and a free intercept (as lbfgs); `one_vs_rest` has K binary losses and an intercept that is a regularized
constant feature (as liblinear, `intercept_scaling=1`). For two classes `multinomial` keeps both weight vectors, which
is scikit-learn's binary model at twice its C.

Method: each training set is written in the eigenbasis of its Gram matrix (centred where the intercept is free), where
the diagonal matrix κλ + 1/C, κ the mean of p(1 − p), is close to the Hessian. With it as preconditioner, nonlinear
conjugate gradients (Polak & Ribière, β ≥ 0) with the Newton step along each direction need 5 iterations at the smallest
C and 30 at the largest; accelerated gradient steps under the global bound λ/4 + 1/C needed twice as many and ended
further from the minimum. All C and classes of all training sets are the rows of one `bmm` (rows, because products with
few columns are five times slower); C that are done are dropped. A problem is frozen when its own step is small, so
what it returns does not depend on the rest of the batch.
"""

from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Classifier = Literal["multinomial", "one_vs_rest"]
CHECK_EVERY = 2  # iterations between looks at convergence
PRECONDITION_EVERY = 8  # iterations between looks at the curvature
LEAST_CURVATURE = 0.02  # of κ: saturated predictions say little about the curvature one step on
TINY = 1e-30


class LinearClassifiers(NamedTuple):
    """Scores of class k at regularization c: weight[:, c, k]·z + bias[:, c, k]; −∞ for a class never trained on."""

    weight: Tensor  # (S, C, K, D)
    bias: Tensor  # (S, C, K)


class _Design(NamedTuple):
    """Training sets in coordinates where their Gram matrix is diagonal; a free intercept is the last coordinate."""

    coordinates: Tensor  # (S, n, r) float32, 0 in padded rows
    eigenvalues: Tensor  # (S, r)
    regularized: Tensor  # (S, r) 1, or 0 for the free intercept
    basis: Tensor  # (S, D or D + 1, r or r − 1) float32, from coordinates back to features
    mean: Tensor  # (S, 1, D) float32, subtracted from the rows
    targets: Tensor  # (S, 1, K, n) float32, 0 in padded rows
    absent: Tensor  # (S, 1, K, 1) classes without a row
    classifier: Classifier

    @property
    def problem_axes(self) -> tuple[int, ...]:
        """Axes that one problem extends over: all classes for multinomial, one class for one-vs-rest."""
        return (2, 3) if self.classifier == "multinomial" else (3,)

    def total(self, values: Tensor) -> Tensor:
        """Sum over each problem, kept as axes of length 1."""
        return values.sum(self.problem_axes, keepdim=True)

    def product(self, vectors: Tensor) -> Tensor:
        """(S, C, K, r) coefficients to (S, C, K, n) scores."""
        return torch.bmm(vectors.flatten(1, 2), self.coordinates.mT).view(*vectors.shape[:3], -1)

    def shares(self, scores: Tensor) -> Tensor:
        """(S, C, K, n) predicted probabilities."""
        if self.classifier == "one_vs_rest":
            return scores.sigmoid()
        return torch.softmax(scores.masked_fill(self.absent, -torch.inf) if self.absent.any() else scores, 2)


@dataclass
class _State:
    """Conjugate gradients over the C that are still moving; C is axis 1 of every field (P: one per problem)."""

    position: Tensor  # (S, C, K, r)
    scores: Tensor  # (S, C, K, n) of the position
    ridge: Tensor  # (S, C, 1, r) 1/C, 0 for a free intercept
    metric: Tensor  # (S, C, K, r) the preconditioner
    gradient: Tensor  # (S, C, K, r)
    direction: Tensor  # (S, C, K, r), uphill: the position moves against it
    slope: Tensor  # (P) along the direction, before the last move
    length: Tensor  # (P) of the last move
    decrement: Tensor  # (P) gradient · metric⁻¹ gradient
    frozen: Tensor  # (P) bool

    def without(self, count: int) -> "_State":
        """The state without the first values of C."""
        return _State(*(getattr(self, field.name)[:, count:].contiguous() for field in fields(self)))


def logistic_path(
    rows: Tensor,
    labels: Tensor,
    num_classes: int,
    cs: Tensor,
    classifier: Classifier = "multinomial",
    tolerance: float = 2e-3,
    max_iterations: int = 500,
) -> LinearClassifiers:
    """Minimisers of C Σᵢ lossᵢ + ½‖w‖² for every C, every class and every training set.

    A problem ends when a preconditioned gradient step would change it by less than `tolerance` of its size, both in
    the norm of the preconditioner.

    Args: rows (S, n, D); labels (S, n) in 0..K−1, −1 for a row that is padding; cs (C,), ascending is fastest, or
        (S, C) with values of C for every training set.
    Returns: float32 weight (S, C, K, D) and bias (S, C, K).
    Source: see the module; preconditioner and stopping rule are ours.
    """
    design = _design(rows.double(), labels, num_classes, classifier)
    return _classifiers(design, _minimised(design, _start(design, cs), tolerance, max_iterations))


def _design(rows: Tensor, labels: Tensor, num_classes: int, classifier: Classifier) -> _Design:
    real = (labels >= 0)[..., None].double()
    members = torch.nn.functional.one_hot(labels.clamp_min(0), num_classes) * real
    targets = members.mT[:, None].float()
    absent = targets.sum(-1, keepdim=True) == 0
    rows = rows * real
    if classifier == "one_vs_rest":
        coordinates, values, basis = _eigen_coordinates(torch.cat([rows, real], -1))
        mean, regularized = torch.zeros_like(rows[:, :1]), torch.ones_like(values)
    else:
        count = real.sum(1)
        mean = rows.sum(1, keepdim=True) / count[..., None]
        coordinates, values, basis = _eigen_coordinates((rows - mean) * real)
        regularized = torch.cat([torch.ones_like(values), torch.zeros_like(count)], -1)
        coordinates, values = torch.cat([coordinates, real.float()], -1), torch.cat([values, count], -1)
    return _Design(coordinates, values.float(), regularized.float(), basis, mean.float(), targets, absent, classifier)


def _eigen_coordinates(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates (S, n, r), eigenvalues (S, r) and basis (S, D, r) of the rows, by their smaller Gram matrix."""
    if rows.shape[-2] >= rows.shape[-1]:
        # float32 is enough: any orthonormal basis is exact, this one only has to make the problem well-conditioned
        values, basis = torch.linalg.eigh((rows.mT @ rows).float())
        return rows.float() @ basis, values.clamp_min(0).double(), basis
    values, left = torch.linalg.eigh(rows @ rows.mT)
    used = values > 1e-12 * values[..., -1:]
    sizes = torch.where(used, values, 0.0).sqrt()
    inverse = torch.where(used, 1 / sizes, 0.0)
    return (left * sizes[:, None]).float(), sizes.square(), (rows.mT @ left * inverse[:, None]).float()


def _start(design: _Design, cs: Tensor) -> _State:
    """All weights zero; a free intercept starts at its optimum for zero weights, the log class shares."""
    inverse_c = (1 / cs).float().to(design.eigenvalues.device)
    ridge = design.regularized[:, None, None] * inverse_c[..., None, None]
    zero = ridge.expand(-1, -1, design.targets.shape[2], -1) * 0
    position = zero.clone()
    if design.classifier == "multinomial":
        counts = design.targets.sum(-1)
        position[..., -1] = (counts.clamp_min(1) / counts.sum(-1, keepdim=True)).log()
    none = design.total(zero)
    return _State(position, design.product(position), ridge, zero, zero, zero, none, none, none, none.bool())


def _minimised(design: _Design, state: _State, tolerance: float, max_iterations: int) -> Tensor:
    """(S, C, K, r) positions, each taken at the first check where its own step was small enough."""
    solution = torch.empty_like(state.position)
    remaining = solution
    for iteration in range(max_iterations):
        _advance(design, state, renew=iteration % PRECONDITION_EVERY == 0)
        last = iteration == max_iterations - 1
        if (iteration + 1) % CHECK_EVERY and not last:
            continue
        small = state.decrement <= tolerance**2 * design.total(state.metric * state.position.square())
        remaining.copy_(torch.where((small | last) & ~state.frozen, state.position, remaining))
        state.frozen |= small | last
        finished = int(state.frozen.flatten(2).all(-1).all(0).long().cumprod(0).sum())
        if finished:
            state, remaining = state.without(finished), remaining[:, finished:]
        if not remaining.shape[1]:
            break
    return solution


def _advance(design: _Design, state: _State, renew: bool) -> None:
    """One conjugate-gradient step; a problem that overshot its last step goes half of it back instead."""
    shares = design.shares(state.scores)
    if renew:
        curvature = (shares - shares.square()).mean(-1, keepdim=True).clamp_min(LEAST_CURVATURE)
        state.metric = torch.addcmul(state.ridge, curvature, design.eigenvalues[:, None, None])
    residual = (shares - design.targets).flatten(1, 2)
    gradient = torch.bmm(residual, design.coordinates).view(state.position.shape)
    gradient.addcmul_(state.ridge, state.position)
    overshot = _turn(design, state, gradient)
    move = design.product(state.direction)
    ridge_curvature = design.total(state.ridge * state.direction.square())
    newton = state.slope / (_curvature_along(design, shares, move) + ridge_curvature).clamp_min(TINY)
    state.length = torch.where(overshot, -state.length.abs() / 2, newton)
    state.position = torch.addcmul(state.position, state.length, state.direction, value=-1)
    state.scores.addcmul_(state.length, move, value=-1)


def _turn(design: _Design, state: _State, gradient: Tensor) -> Tensor:
    """Set the next direction; the mask of problems that overshot (and keep theirs)."""
    along = design.total(gradient * state.direction)
    overshot = along < -state.slope / 2
    steepest = gradient / state.metric
    decrement = design.total(gradient * steepest)
    change = decrement - design.total(state.gradient * steepest)
    beta = (change / state.decrement.clamp_min(TINY)).clamp_min(0)
    slope = decrement + beta * along
    beta = torch.where(slope > 0, beta, 0.0)
    direction = steepest.addcmul_(beta, state.direction)
    if overshot.any():
        direction = torch.where(overshot, state.direction, direction)
        gradient = torch.where(overshot, state.gradient, gradient)
        decrement = torch.where(overshot, state.decrement, decrement)
    state.slope = torch.where(overshot, state.slope, torch.where(slope > 0, slope, decrement))
    state.direction, state.gradient, state.decrement = direction, gradient, decrement
    return overshot


def _curvature_along(design: _Design, shares: Tensor, move: Tensor) -> Tensor:
    """Second derivative of the loss along a move of the scores, one per problem."""
    weighted = shares * move
    if design.classifier == "one_vs_rest":
        return design.total(weighted * move - weighted.square())
    return design.total(weighted * move) - weighted.sum(2, keepdim=True).square().sum(3, keepdim=True)


def _classifiers(design: _Design, solution: Tensor) -> LinearClassifiers:
    directions = solution[..., : design.basis.shape[-1]]
    flat = torch.bmm(directions.flatten(1, 2), design.basis.mT).view(*solution.shape[:3], -1)
    if design.classifier == "one_vs_rest":
        weight, bias = flat[..., :-1], flat[..., -1]
    else:
        weight, bias = flat, solution[..., -1] - (flat * design.mean[:, None]).sum(-1)
    return LinearClassifiers(weight, bias.masked_fill(design.absent[..., 0], -torch.inf))
