"""Squared loss on data, with sample weights: its reduction to `deep_linear` and its one-layer minimiser.

The loss is ½ Σ_i w_i ‖W x_i − t_i‖² with Σ w_i = 1 (w_i = 1/N: the mean over samples; w_k = n_k/N on class
means: the centroid loss). With C = Σ w_i x_i x_iᵀ and A = Σ w_i t_i x_iᵀ it equals ½ tr(W C Wᵀ) − tr(A Wᵀ) +
const.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def whitened_target(
    inputs: ArrayLike, targets: ArrayLike, sample_weights: ArrayLike | None = None, tolerance: float = 1e-6
) -> Floats:
    """The matrix Y for which the squared loss on white inputs is ½‖W − Y‖_F² + const.

    `deep_linear` applies to its singular values.

    Formula: Y = Σ_i w_i t_i x_iᵀ (the cross-covariance), valid where Σ_i w_i x_i x_iᵀ = I. The inputs are
    NOT centred here. On inputs that are not white no closed form for depth ≥ 2 is claimed, and this raises.

    Args:
        inputs: x, shape (N, d_in), white; `whitened_inputs` makes them so.
        targets: t, shape (N, d_out), e.g. one-hot labels.
        sample_weights: w, shape (N,), ≥ 0, rescaled to sum 1; None: 1/N each.
        tolerance: largest allowed entry of |C − I|.
    Returns:
        Y, shape (d_out, d_in).
    Raises:
        ValueError: inputs that are not white within the tolerance, or shapes or weights that do not fit.
    Source: ours (Saxe et al. 2014 use the same reduction for white inputs).
    """
    second_moment, cross_moment = _moments(inputs, targets, sample_weights)
    gap = float(np.max(np.abs(second_moment - np.eye(len(second_moment)))))
    if not gap <= tolerance:
        raise ValueError(f"inputs must be white: second moment off by {gap:.3g}, see whitened_inputs")
    return cross_moment


def whitened_inputs(inputs: ArrayLike, sample_weights: ArrayLike | None = None) -> Floats:
    """Inputs mapped linearly so that their weighted second moment is the identity.

    Formula: x ← C^(−1/2) x, C = Σ_i w_i x_i x_iᵀ (ZCA; no mean is subtracted).

    Args:
        inputs: x, shape (N, d_in).
        sample_weights: w, shape (N,), ≥ 0, rescaled to sum 1; None: 1/N each.
    Returns:
        Shape (N, d_in).
    Raises:
        ValueError: a second moment without full rank (fewer samples than features, or a constant zero
        feature).
    Source: ours.
    """
    samples = _rows(inputs, "inputs")
    values, vectors = np.linalg.eigh(_weighted(samples, sample_weights).T @ samples)
    if values[0] <= values[-1] * len(values) * np.finfo(np.float64).eps:
        raise ValueError("inputs cannot be whitened: their second moment does not have full rank")
    return np.asarray(samples @ (vectors / np.sqrt(values)) @ vectors.T)


def ridge_weight(
    inputs: ArrayLike, targets: ArrayLike, weight_decay: float, sample_weights: ArrayLike | None = None
) -> Floats:
    """The one-layer minimiser of ½ Σ_i w_i ‖W x_i − t_i‖² + (λ/2)‖W‖_F², for any inputs.

    Formula: W = A (C + λI)^(−1). With λ = 0 and a singular C: the solution of least norm. Called with class
    means and n_k/N it is the minimiser of the centroid loss; the two losses differ by ½ tr(W S_W Wᵀ), half
    the total cluster variation of the outputs, when the targets depend on the class alone.

    Args:
        inputs: x, shape (N, d_in).
        targets: t, shape (N, d_out).
        weight_decay: λ ≥ 0.
        sample_weights: w, shape (N,), ≥ 0, rescaled to sum 1; None: 1/N each.
    Returns:
        W, shape (d_out, d_in).
    Raises:
        ValueError: a negative or non-finite weight decay, or shapes or weights that do not fit.
    Source: ridge regression; the scaling by 1/N and the halves are ours.
    """
    if not (np.isfinite(weight_decay) and weight_decay >= 0):
        raise ValueError(f"weight_decay must be finite and at least 0, got {weight_decay}")
    second_moment, cross_moment = _moments(inputs, targets, sample_weights)
    shifted = second_moment + weight_decay * np.eye(len(second_moment))
    if weight_decay == 0:
        return np.asarray(cross_moment @ np.linalg.pinv(shifted, hermitian=True))
    return np.asarray(np.linalg.solve(shifted, cross_moment.T).T)


def _moments(inputs: ArrayLike, targets: ArrayLike, sample_weights: ArrayLike | None) -> tuple[Floats, Floats]:
    samples, answers = _rows(inputs, "inputs"), _rows(targets, "targets")
    if len(samples) != len(answers):
        raise ValueError(f"inputs have {len(samples)} rows and targets {len(answers)}: they must agree")
    weighted = _weighted(samples, sample_weights)
    return weighted.T @ samples, answers.T @ weighted


def _weighted(samples: Floats, sample_weights: ArrayLike | None) -> Floats:
    """Rows w_i x_i with the weights rescaled to sum 1."""
    if sample_weights is None:
        return samples / len(samples)
    weights = np.asarray(sample_weights, dtype=np.float64)
    if weights.shape != (len(samples),) or not np.all(weights >= 0) or not 0 < weights.sum() < np.inf:
        raise ValueError("sample_weights must be one finite number of at least 0 per row, not all 0")
    return np.asarray(samples * (weights / weights.sum())[:, None])


def _rows(values: ArrayLike, name: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape or not np.all(np.isfinite(array)):
        raise ValueError(f"{name} must be a finite matrix with a row and a column, got {array.shape}")
    return array
