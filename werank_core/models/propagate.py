"""Sparse propagation on a graph: the only place that knows how sparse matrices are stored and multiplied.

The non-zeros of Â = D^-1/2 (A + I) D^-1/2 and of bag-of-words features never move during training, their values do. So
the pattern, and the permutation that transposes it, are computed once, and an augmented view is a few value arrays.
"""

import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from werank_core.autograd import with_kept_signature

# The first sparse CSR tensor of a process announces that they are in beta.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")


@dataclass(frozen=True, eq=False)
class SparsePattern:
    """Where the non-zeros of an (M, K) matrix are, row by row, and how they are reordered in its transpose.

    Args: indptr (M + 1,), indices (nnz,) int64 CSR; `back_indptr` (K + 1,), `back_indices` (nnz,) CSR of the transpose,
    whose values are `values[permutation]`.
    """

    indptr: Tensor
    indices: Tensor
    back_indptr: Tensor
    back_indices: Tensor
    permutation: Tensor
    _repeated: dict[int, "SparsePattern"] = field(default_factory=dict, init=False, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(M, K)."""
        return len(self.indptr) - 1, len(self.back_indptr) - 1

    @property
    def rows(self) -> Tensor:
        """(nnz,) row of every non-zero."""
        return torch.repeat_interleave(torch.arange(self.shape[0], device=self.indptr.device), self.indptr.diff())

    def repeated(self, count: int) -> "SparsePattern":
        """The pattern of the block-diagonal matrix with this one `count` times; made once."""
        if count not in self._repeated:
            self._repeated[count] = SparsePattern(
                _chained(self.indptr, len(self.indices), count),
                _shifted(self.indices, self.shape[1], count),
                _chained(self.back_indptr, len(self.indices), count),
                _shifted(self.back_indices, self.shape[0], count),
                _shifted(self.permutation, len(self.indices), count),
            )
        return self._repeated[count]

    def to(self, device: str | torch.device) -> "SparsePattern":
        """The same pattern on another device."""
        return SparsePattern(*(part.to(device) for part in vars(self).values() if isinstance(part, Tensor)))


def _shifted(numbers: Tensor, size: int, count: int) -> Tensor:
    """The numbers `count` times, those of copy r plus r · size."""
    return (numbers + size * torch.arange(count, device=numbers.device)[:, None]).flatten()


def _chained(indptr: Tensor, num_entries: int, count: int) -> Tensor:
    """Where the rows of `count` copies start; the last entry is where the last one ends."""
    return torch.cat([_shifted(indptr[:-1], num_entries, count), indptr[-1:] * count])


def sparse_pattern(rows: Tensor, columns: Tensor, shape: tuple[int, int]) -> tuple[SparsePattern, Tensor]:
    """The pattern of distinct coordinates, and the order (nnz,) that sorts them by row and column."""
    order = torch.argsort(rows * shape[1] + columns)
    rows, columns = rows[order], columns[order]
    back = torch.argsort(columns * shape[0] + rows)
    pattern = SparsePattern(_indptr(rows, shape[0]), columns, _indptr(columns, shape[1]), rows[back], back)
    return pattern, order


def _indptr(sorted_rows: Tensor, num_rows: int) -> Tensor:
    counts = torch.bincount(sorted_rows, minlength=num_rows)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def _multiplied(indptr: Tensor, indices: Tensor, values: Tensor, num_columns: int, dense: Tensor) -> Tensor:
    if dense.device.type == "cpu":
        # A row of S B is a weighted sum of rows of B, which is what an embedding bag is: its kernel is made for the
        # processor at hand and is 1.2 (512 columns) to 2.8 times (128) as fast as torch.sparse.mm(reduce="sum").
        bags = torch.embedding_bag(dense.contiguous(), indices, indptr, False, 0, False, values, True)
        return bags[0]
    shape = (len(indptr) - 1, num_columns)
    matrix = torch.sparse_csr_tensor(indptr, indices, values, shape, check_invariants=False)
    return torch.sparse.mm(matrix, dense)  # type: ignore[no-any-return]


@with_kept_signature
class _SparseProduct(torch.autograd.Function):
    """S B for a fixed pattern; the gradient of B is Sᵀ times the incoming one, and the values have none."""

    @staticmethod
    def forward(pattern: SparsePattern, values: Tensor, dense: Tensor) -> Tensor:
        return _multiplied(pattern.indptr, pattern.indices, values, pattern.shape[1], dense)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[SparsePattern, Tensor, Tensor], output: Tensor) -> None:
        ctx.pattern, values, _ = inputs
        ctx.save_for_backward(values)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, None, Tensor]:
        (values,) = ctx.saved_tensors
        return None, None, _TransposedProduct.apply(ctx.pattern, values, grad_outputs[0])  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[None, int | None, int | None], pattern: SparsePattern, values: Tensor, dense: Tensor
    ) -> tuple[Tensor, int]:
        return _of_runs(_SparseProduct, info, in_dims, pattern, values, dense), 0


@with_kept_signature
class _TransposedProduct(torch.autograd.Function):
    """Sᵀ B: the backward half, a function of its own so that it too has a rule for vmap and for a second derivative."""

    @staticmethod
    def forward(pattern: SparsePattern, values: Tensor, dense: Tensor) -> Tensor:
        swapped = values[pattern.permutation]
        return _multiplied(pattern.back_indptr, pattern.back_indices, swapped, pattern.shape[0], dense)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[SparsePattern, Tensor, Tensor], output: Tensor) -> None:
        ctx.pattern, values, _ = inputs
        ctx.save_for_backward(values)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, None, Tensor]:
        (values,) = ctx.saved_tensors
        return None, None, _SparseProduct.apply(ctx.pattern, values, grad_outputs[0])  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[None, int | None, int | None], pattern: SparsePattern, values: Tensor, dense: Tensor
    ) -> tuple[Tensor, int]:
        return _of_runs(_TransposedProduct, info, in_dims, pattern, values, dense), 0


def _of_runs(
    function: Any,
    info: Any,
    in_dims: tuple[None, int | None, int | None],
    pattern: SparsePattern,
    values: Tensor,
    dense: Tensor,
) -> Tensor:
    """(R, M, H). On a GPU one product with the block-diagonal matrix of all runs.

    On a CPU one product a run: one as wide as all runs together is slower, its rows leave the cache.
    """
    num_runs: int = info.batch_size
    moved = [
        tensor.expand(num_runs, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip((values, dense), in_dims[1:], strict=True)
    ]
    if dense.device.type == "cpu":
        return torch.stack([function.apply(pattern, *pair) for pair in zip(*moved, strict=True)])
    together = function.apply(pattern.repeated(num_runs), *(tensor.flatten(0, 1) for tensor in moved))
    return together.reshape(num_runs, -1, together.shape[1])  # type: ignore[no-any-return]


def sparse_product(pattern: SparsePattern, values: Tensor, dense: Tensor) -> Tensor:
    """S B, differentiable in B, where S has the given non-zeros.

    Args: values (nnz,); dense (K, H).
    Returns: (M, H).
    """
    result: Tensor = _SparseProduct.apply(pattern, values, dense)  # type: ignore[no-untyped-call]
    return result


@dataclass(frozen=True, eq=False)
class Propagation:
    """The pattern of A + I of one graph and which of its entries are the self-loops.

    Entry (i, j) carries a message from j to i, as PyG's `edge_index = (j, i)` does.
    """

    pattern: SparsePattern
    rows: Tensor
    is_loop: Tensor

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.pattern.shape[0]

    @property
    def num_entries(self) -> int:
        """Directed edges and self-loops together: the length of a value array."""
        return len(self.pattern.indices)

    def normalized_values(self, kept: Tensor | None = None) -> Tensor:
        """Values of Â = D^-1/2 (A + I) D^-1/2, where D counts the kept edges into a node and its self-loop.

        Each direction of an edge is kept or dropped by itself, so Â of a view is not symmetric, as in BGRL's reference.
        Args: kept (nnz,) bool; None keeps everything. Self-loops are always kept.
        Returns: (nnz,) in [0, 1].
        Source: Kipf & Welling 2017, equation 2; PyG's GCNConv with `edge_index` filtered first.
        """
        weights = self.is_loop.float() if kept is None else (kept | self.is_loop).float()
        weights = torch.ones_like(weights) if kept is None else weights
        degree = torch.zeros(self.num_nodes, device=weights.device).index_add_(0, self.rows, weights)
        scale = degree.rsqrt()
        return weights * scale[self.rows] * scale[self.pattern.indices]

    def to(self, device: str | torch.device) -> "Propagation":
        """The same on another device."""
        return Propagation(self.pattern.to(device), self.rows.to(device), self.is_loop.to(device))


def propagation(edge_index: Tensor, num_nodes: int) -> Propagation:
    """The propagation pattern of a graph.

    Args: edge_index (2, E) distinct directed edges (source, target); self-loops in it count once, as the ones added.
    """
    source, target = edge_index[:, edge_index[0] != edge_index[1]]
    nodes = torch.arange(num_nodes, device=edge_index.device)
    rows, columns = torch.cat([target, nodes]), torch.cat([source, nodes])
    pattern, order = sparse_pattern(rows, columns, (num_nodes, num_nodes))
    return Propagation(pattern, rows[order], rows[order] == columns[order])


@dataclass(frozen=True, eq=False)
class SparseFeatures:
    """Features (N, D) with few non-zeros, such as bags of words."""

    pattern: SparsePattern
    values: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return self.pattern.shape

    def dense(self) -> Tensor:
        """(N, D) with all its zeros."""
        full = torch.zeros(self.shape, dtype=self.values.dtype, device=self.values.device)
        full[self.pattern.rows, self.pattern.indices] = self.values
        return full

    def masked(self, column_mask: Tensor) -> "SparseFeatures":
        """The features with some columns set to zero; column_mask (D,), 1 keeps."""
        return SparseFeatures(self.pattern, self.values * column_mask[self.pattern.indices])

    def to(self, device: str | torch.device) -> "SparseFeatures":
        """The same on another device."""
        return SparseFeatures(self.pattern.to(device), self.values.to(device))


def sparse_features(indptr: Tensor, indices: Tensor, values: Tensor, num_columns: int) -> SparseFeatures:
    """Sparse features from CSR arrays."""
    rows = torch.repeat_interleave(torch.arange(len(indptr) - 1), indptr.diff())
    pattern, order = sparse_pattern(rows, indices, (len(indptr) - 1, num_columns))
    return SparseFeatures(pattern, values[order])
