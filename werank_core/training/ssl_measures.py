"""What every self-supervised experiment records about representations, weights and responses, in float64."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from werank_core.metrics import collapse, rank
from werank_core.metrics.probe import ProbeSplits, probe
from werank_core.metrics.sensitivity import layer_alignment_score, product_of_spectral_norms
from werank_core.metrics.tables import layer_numbers, numbers
from werank_core.training.loop import Arrays, Values

VALIDATION_SHARE = 0.2


def exact(tensor: Tensor) -> Tensor:
    """The tensor where float64 exists: on the CPU if it is on an Apple GPU, else where it is."""
    return tensor.cpu() if tensor.device.type == "mps" else tensor


def representation_measures(representations: Tensor, embeddings: Tensor) -> tuple[Arrays, Values]:
    """Singular values of representations and embeddings `(R, N, D)`, and every rank metric that follows from them.

    Returns:
        The two spectra, and name -> `(R,)`, named as in the vocabulary: the sizes that bound a rank among them.
    """
    raw, embedded = (rank.representation_singular_values(part) for part in (representations, embeddings))
    centred = rank.representation_singular_values(representations, centered=True)
    values = numbers(rank.REPRESENTATION_NUMBERS, raw) | numbers(rank.CENTRED_NUMBERS, centred)
    values |= numbers(rank.EMBEDDING_NUMBERS, embedded)
    rows, width = representations.shape[-2:]
    sizes = {"measured_rows": rows, "representation_width": width, "embedding_width": embeddings.shape[-1]}
    values |= {name: torch.full_like(raw[..., 0], size) for name, size in sizes.items()}
    return {("representation_spectrum", 0): raw, ("embedding_spectrum", 0): embedded}, values


def weight_measures(weights: Sequence[Tensor], *, alignment: bool = True) -> tuple[Arrays, Values]:
    """Singular values of every weight `(R, d_out, d_in)`, `(R, m)` a layer, to store, and what follows from them.

    Args:
        alignment: also that of neighbouring layers, `(R, L - 1)`; their directions cost twice the time of the values.
    """
    values: Values = {}
    if alignment and len(weights) > 1:
        factors = [rank.singular_factors(weight) for weight in weights]
        values["layer_alignment"] = torch.stack([layer_alignment_score(a, b) for a, b in pairwise(factors)], -1)
        spectra = [factor.spectrum for factor in factors]
    else:
        spectra = [rank.singular_values(weight) for weight in weights]
    values |= layer_numbers(rank.WEIGHT_NUMBERS, spectra)
    values["product_of_spectral_norms"] = product_of_spectral_norms(spectra)
    return {("weight_spectrum", layer): spectrum for layer, spectrum in enumerate(spectra, start=1)}, values


def collapse_metrics(representations: Tensor, labels: Tensor, num_classes: int) -> Values:
    """TCV and the neural-collapse measures that need no classifier, each `(R,)`."""
    moments = collapse.class_moments(representations, labels, num_classes)
    return numbers(collapse.CLUSTER_NUMBERS, moments) | numbers(collapse.CLASS_NUMBERS, moments)


def probe_metrics(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> Values:
    """Linear probe fitted on training rows, C chosen on the last fifth of them, scored on test rows.

    Args:
        train, test: representations `(R, N, D)`.
        train_labels, test_labels: `(R, N)`.

    Returns:
        Test accuracy and macro-F1, each `(R,)`.
    """
    num_train = train.shape[1]
    cut = num_train - int(VALIDATION_SHARE * num_train)
    rows = torch.arange(num_train + test.shape[1])[None]
    splits = ProbeSplits(rows[:, :cut], rows[:, cut:num_train], rows[:, num_train:])
    result = probe(torch.cat([train, test], 1), torch.cat([train_labels, test_labels], 1), splits)
    return {"accuracy": result.accuracy.mean(-1), "macro_f1": result.macro_f1.mean(-1)}
