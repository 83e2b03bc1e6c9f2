"""Augmented views of a graph: what an encoder reads, as a few value arrays over one fixed pattern."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from werank_core.models.precision import product
from werank_core.models.propagate import Propagation, SparseFeatures, SparsePattern, sparse_product


@dataclass(frozen=True, eq=False)
class GraphView:
    """One augmented view of a graph: what an encoder reads.

    Args:
        values: (nnz,) values of Â of this view.
        features: (N, D) dense, not masked, or sparse with the mask already in its values.
        column_mask: (D,) 1 keeps, for dense features: (X ⊙ m) Wᵀ = X (W ⊙ m)ᵀ, which leaves the large X alone.
        propagated: Â X (N, D), for dense features no wider than the first layer: one for all networks and runs.
    """

    pattern: SparsePattern
    values: Tensor
    features: Tensor | SparseFeatures
    column_mask: Tensor | None = None
    propagated: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """What differs between views, for functions that map over runs; `AugmentableGraph.view_of` undoes it."""
        features = self.features.values if isinstance(self.features, SparseFeatures) else None
        parts = {"edges": self.values, "features": features, "columns": self.column_mask, "propagated": self.propagated}
        return {name: part for name, part in parts.items() if part is not None}

    def propagate(self, x: Tensor) -> Tensor:
        """Â x, (N, H) -> (N, H)."""
        return sparse_product(self.pattern, self.values, x)

    def convolve_features(self, weight: Tensor, *, bfloat16: bool = False) -> Tensor:
        """Â X Wᵀ in the cheapest order; weight (H, D) -> (N, H)."""
        if isinstance(self.features, SparseFeatures):
            return self.propagate(sparse_product(self.features.pattern, self.features.values, weight.mT))
        masked = weight if self.column_mask is None else weight * self.column_mask
        if self.propagated is not None:
            return product(self.propagated, masked, bfloat16=bfloat16)
        return self.propagate(product(self.features, masked, bfloat16=bfloat16))


@dataclass(frozen=True, eq=False)
class AugmentableGraph:
    """A graph on a device, from which views are made.

    Args: hidden: width of the first layer, which decides the cheaper order of Â X Wᵀ for dense features.
    """

    propagation: Propagation
    features: Tensor | SparseFeatures
    hidden: int

    def view(self, kept: Tensor | None = None, column_mask: Tensor | None = None) -> GraphView:
        """The view with the given edges and feature columns; without arguments the whole graph.

        Args: kept (nnz,) bool in the order of the pattern; column_mask (D,) float, 1 keeps.
        """
        values = self.propagation.normalized_values(kept)
        pattern = self.propagation.pattern
        if isinstance(self.features, SparseFeatures):
            features = self.features if column_mask is None else self.features.masked(column_mask)
            return GraphView(pattern, values, features)
        first = sparse_product(pattern, values, self.features) if self.features.shape[1] <= self.hidden else None
        return GraphView(pattern, values, self.features, column_mask, first)

    def view_of(self, tensors: Mapping[str, Tensor]) -> GraphView:
        """The view with these tensors, as `GraphView.tensors` gives them."""
        features = self.features
        if isinstance(features, SparseFeatures):
            features = SparseFeatures(features.pattern, tensors["features"])
        optional = tensors.get("columns"), tensors.get("propagated")
        return GraphView(self.propagation.pattern, tensors["edges"], features, *optional)

    def augmented(self, uniform: tuple[Tensor, Tensor], drop_edge: float, drop_feature: float) -> GraphView:
        """The view in which what drew less than its rate is dropped.

        The same draws with a smaller rate drop a subset, so augmentation scales are compared on paired noise too.
        Args: uniform: draws in [0, 1), (nnz,) for directed edges and (D,) for feature columns; rates in [0, 1).
        Source: Zhu et al. 2020 (GRACE) and Thakoor et al. 2022 (BGRL): edge dropping and column masking.
        """
        for_edges, for_columns = uniform
        return self.view(for_edges >= drop_edge, (for_columns >= drop_feature).float())

    def to(self, device: str | torch.device) -> "AugmentableGraph":
        """The same on another device."""
        return AugmentableGraph(self.propagation.to(device), self.features.to(device), self.hidden)
