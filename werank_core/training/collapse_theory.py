"""The closed forms behind a `rank_collapse` run, computed beside the measurement they are held against."""

import numpy as np
import torch
from torch import Tensor

from werank_core.config import RankCollapseConfig
from werank_core.metrics.rank import singular_values
from werank_core.theory.deep_linear import local_minimum_singular_values, optimal_singular_values
from werank_core.theory.gaussian_mixture import expected_total_cluster_variation, isotropic_mixture
from werank_core.theory.least_squares import whitened_target
from werank_core.training.collapse_data import CollapseData
from werank_core.training.loop import Arrays, Values
from werank_core.training.stacked import State, squared_norm, weights_of


class Theory:
    """The closed forms that apply to a batch: to none of its runs, or to all."""

    def __init__(self, config: RankCollapseConfig, data: CollapseData, noise: Tensor) -> None:
        self._config, self._data, self._noise = config, data, noise
        self._target = target_spectra(data) if config.closed_form else None

    def metrics(self, parameters: State, decay: Tensor) -> tuple[Values, Arrays]:
        """What they say about these weights, and spectra; decay: λ of every run, `(R,)`."""
        config, weights = self._config, list(weights_of(parameters).values())
        values: Values = {}
        arrays: Arrays = {}
        if self._target is not None:
            spectrum = singular_values(product(weights))
            arrays = {("target_spectrum", 0): self._target, ("product_spectrum", 0): spectrum}
            values["closed_form_error"] = closed_form_error(
                spectrum, self._target, decay, config.depth, config.narrowest
            )
        if config.dataset == "mixture" and config.clusters == "labels" and not config.whitened:
            linear = config.activation == "linear" and not config.batch_norm
            values["train/expected_layer_tcv"] = expected_layer_tcv(self._data, weights, self._noise, linear=linear)
        return {name: value.to(decay.device) for name, value in values.items()}, arrays


def target_spectra(data: CollapseData) -> Tensor:
    """Singular values `(R, m)` of the target Y = (1/N) Σ e_y xᵀ of the deep linear problem on white inputs."""
    labels = torch.nn.functional.one_hot(data.train_labels, data.num_classes).double().cpu().numpy()
    rows = data.train.double().cpu().numpy()
    # float32 rows are white to about 1e-6 only
    targets = [whitened_target(x, t, tolerance=1e-4) for x, t in zip(rows, labels, strict=True)]
    return torch.from_numpy(np.linalg.svd(np.stack(targets), compute_uv=False))[data.of_run.cpu()]


def product(weights: list[Tensor]) -> Tensor:
    """W_L ··· W_1, float64, `(R, K, d)`."""
    result = weights[0].double()
    for weight in weights[1:]:
        result = weight.double() @ result
    return result


def closed_form_error(
    spectrum: Tensor, target: Tensor, decay: Tensor, depth: int, max_rank: int | None = None
) -> Tensor:
    """max |sⱼ − ŝⱼ|/ŝⱼ over the singular values of W_L···W₁ (over yⱼ where ŝⱼ = 0), `(R,)`.

    ŝ is the global minimum; where the non-zero branch is a minimum though
    not the global one (L ≥ 3), to the nearer of the two. Nothing is divided by less than 1e-6 of the largest y: what
    rounding leaves of a value that is not there is no error.

    Args:
        spectrum, target: `(R, m)` measured, and of Y; decay: `(R,)`.
        max_rank: units of the narrowest hidden layer; None: no hidden layer.
    """
    y, strength = target.numpy(), decay.double().cpu().numpy()
    measured = spectrum.double().cpu().numpy()
    least = 1e-6 * y.max(-1, keepdims=True)
    branches = [
        solution(y, strength, depth, max_rank) for solution in (optimal_singular_values, local_minimum_singular_values)
    ]
    errors = [np.abs(measured - s) / np.maximum(np.where(s > 0, s, y), least) for s in branches]
    return torch.from_numpy(np.minimum(*errors).max(-1))


def expected_layer_tcv(data: CollapseData, weights: list[Tensor], noise: Tensor, *, linear: bool) -> Tensor:
    """Expected TCV of every layer's input, `(R, L)`, for Gaussian clusters of isotropic noise σ.

    σ² ‖W_{l−1}···W₁‖_F² (1 − K/N), σ² d (1 − K/N) at the input; the weights are taken as given, NaN behind a
    non-linearity.
    """
    shares = torch.nn.functional.one_hot(data.clusters, data.num_classes).double().mean(1).cpu().numpy()
    columns = [_unit_tcv(data, shares, None, len(weights[0]))]
    for layer in range(1, len(weights)):
        columns.append(
            _unit_tcv(data, shares, product(weights[:layer]), len(weights[0])) if linear else torch.nan * columns[0]
        )
    return torch.stack(columns, -1) * noise.double().cpu()[:, None] ** 2


def _unit_tcv(data: CollapseData, shares: np.ndarray, weight: Tensor | None, num_runs: int) -> Tensor:
    """Expected TCV `(R,)` at noise 1: it needs the covariance and the class sizes, not the means."""
    values = torch.empty(num_runs, dtype=torch.float64)
    centres = np.zeros((data.num_classes, data.train.shape[-1]))
    for split, probabilities in enumerate(shares):
        runs = (data.of_run == split).cpu()
        mixture = isotropic_mixture(centres, 1.0, probabilities)
        matrix = None if weight is None else torch.nan_to_num(weight)[runs].cpu().numpy()
        values[runs] = torch.as_tensor(expected_total_cluster_variation(mixture, matrix, data.clusters.shape[-1]))
    return values


def centroid_distance(parameters: State, twin: State) -> Tensor:
    """‖W − W_c‖_F/‖W_c‖_F over all layers of a run and of its twin trained on the class means, `(R,)`."""
    gap = {name: (parameters[name] - weight).double() for name, weight in twin.items()}
    return (squared_norm(gap) / squared_norm({name: weight.double() for name, weight in twin.items()})).sqrt()
