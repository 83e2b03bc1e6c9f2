"""BGRL as anyone writes it with PyTorch Geometric: dense features, GCNConv, copied data, AdamW, autograd penalty.

The side to beat in `bench.graph_step`, and the independent implementation that tests hold the trainer against.
"""

import copy
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv


class PlainEncoder(nn.Module):
    """GCNConv -> BatchNorm -> PReLU, once for every width."""

    def __init__(self, d_in: int, widths: Sequence[int]) -> None:
        super().__init__()
        sizes = [d_in, *widths]
        self.convs = nn.ModuleList(GCNConv(a, b) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width, momentum=0.99) for width in widths)
        self.acts = nn.ModuleList(nn.PReLU() for _ in widths)

    def forward(self, data: Data) -> Tensor:
        """Representations of all nodes."""
        x: Tensor = data.x
        for conv, norm, act in zip(self.convs, self.norms, self.acts, strict=True):
            x = act(norm(conv(x, data.edge_index)))
        return x

    def weights(self) -> list[Tensor]:
        """The matrices of the convolutions, first layer first."""
        return [conv.lin.weight for conv in self.convs if isinstance(conv, GCNConv)]


def augmented_copy(data: Data, kept_edges: Tensor, kept_columns: Tensor) -> Data:
    """A deep copy without the dropped edges and with masked columns set to 0."""
    view = copy.deepcopy(data)
    view.edge_index = view.edge_index[:, kept_edges]
    view.x[:, ~kept_columns] = 0
    return view


def plain_penalty(weights: Sequence[Tensor]) -> Tensor:
    """Σ ‖G − I‖_F on the smaller Gram side, differentiated by autograd."""
    total = torch.zeros(())
    for w in weights:
        gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
        total = total + torch.linalg.matrix_norm(gram - torch.eye(len(gram)))
    return total


class PlainBGRL:
    """One run, one step at a time."""

    def __init__(self, data: Data, widths: Sequence[int], hidden: int, strength: float, weight_decay: float) -> None:
        self.data, self.strength = data, strength
        self.online, self.target = PlainEncoder(data.num_features, widths), PlainEncoder(data.num_features, widths)
        self.predictor = nn.Sequential(nn.Linear(widths[-1], hidden), nn.PReLU(), nn.Linear(hidden, widths[-1]))
        parameters = [*self.online.parameters(), *self.predictor.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, lr=1.0, weight_decay=weight_decay)

    def step(self, masks: Sequence[tuple[Tensor, Tensor]], learning_rate: float, ema_decay: float) -> float:
        """One optimizer step on the views that keep the given edges and columns; returns the loss before it."""
        one, two = (augmented_copy(self.data, edges, columns) for edges, columns in masks)
        q1, q2 = self.predictor(self.online(one)), self.predictor(self.online(two))
        with torch.no_grad():
            y1, y2 = self.target(one), self.target(two)
        cosine = nn.functional.cosine_similarity
        loss = 2 - cosine(q1, y2).mean() - cosine(q2, y1).mean()
        if self.strength:
            loss = loss + self.strength * plain_penalty(self.online.weights())
        self.optimizer.param_groups[0]["lr"] = learning_rate
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        for mine, theirs in zip(self.target.parameters(), self.online.parameters(), strict=True):
            mine.data = mine.data * ema_decay + theirs.data * (1 - ema_decay)
        return loss.item()
