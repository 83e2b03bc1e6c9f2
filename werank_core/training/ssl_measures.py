"""What every self-supervised experiment records about representations, weights and responses, in float64."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from werank_core.metrics import collapse, rank, sensitivity
from werank_core.metrics.probe import ProbeSplits, probe
from werank_core.training.loop import Arrays, Values

VALIDATION_SHARE = 0.2


def exact(tensor: Tensor) -> Tensor:
    """The tensor where float64 exists: on the CPU if it is on an Apple GPU, else where it is."""
    return tensor.cpu() if tensor.device.type == "mps" else tensor


def representation_metrics(representations: Tensor) -> Values:
    """Every rank metric of the representations.

    Args:
        representations: `(R, N, D)`.

    Returns:
        name -> `(R,)`, named as in the vocabulary.
    """
    raw = rank.representation_singular_values(representations)
    centred = rank.representation_singular_values(representations, centered=True)
    return {
        "effective_rank": rank.effective_rank_of_spectrum(raw),
        "rankme": rank.rankme_of_spectrum(raw),
        "covariance_effective_rank": rank.covariance_effective_rank_of_spectrum(centred),
        "participation_ratio": rank.participation_ratio_of_spectrum(centred),
        "stable_rank": rank.stable_rank_of_spectrum(raw),
        "numerical_rank": rank.numerical_rank_of_spectrum(raw),
        "alpha_req": rank.alpha_req_fit_of_spectrum(centred).alpha,
    }


def embedding_metrics(embeddings: Tensor) -> Values:
    """Effective rank and RankMe of the embeddings `(R, N, D)`."""
    spectrum = rank.representation_singular_values(embeddings)
    return {
        "embedding_effective_rank": rank.effective_rank_of_spectrum(spectrum),
        "embedding_rankme": rank.rankme_of_spectrum(spectrum),
    }


def weight_metrics(weights: Sequence[Tensor]) -> Values:
    """Rank of every weight `(R, d_out, d_in)`, alignment of neighbours, product of spectral norms."""
    matrices = [w.double() for w in weights]
    spectra = [rank.singular_values(w) for w in matrices]
    values = {
        "weight_effective_rank": torch.stack([rank.effective_rank_of_spectrum(s) for s in spectra], -1),
        "weight_stable_rank": torch.stack([rank.stable_rank_of_spectrum(s) for s in spectra], -1),
        "weight_numerical_rank": torch.stack([rank.numerical_rank_of_spectrum(s) for s in spectra], -1),
        "product_of_spectral_norms": torch.stack([s[..., 0] for s in spectra]).prod(0),
    }
    if len(matrices) > 1:
        pairs = pairwise(matrices)
        values["layer_alignment"] = torch.stack([sensitivity.layer_alignment_score(a, b) for a, b in pairs], -1)
    return values


def response_sensitivity(respond: Callable[[Tensor], Tensor], rows: Tensor, noise: Tensor) -> Tensor:
    """Measured response to a small change of the input, `(R,)`."""
    return sensitivity.response_sensitivity(respond, rows, noise)


def collapse_metrics(representations: Tensor, labels: Tensor, num_classes: int) -> Values:
    """TCV and the neural-collapse measures that need no classifier, each `(R,)`."""
    arguments = (representations, labels, num_classes)
    return {
        "total_cluster_variation": collapse.total_cluster_variation(*arguments),
        "relative_tcv": collapse.relative_tcv(*arguments),
        "nc1": collapse.nc1(*arguments),
        "nc1_quotient": collapse.nc1_quotient(*arguments),
        "cdnv": collapse.cdnv(*arguments),
        "nc2_equinorm": collapse.nc2_equinorm(*arguments),
        "nc2_equiangular": collapse.nc2_equiangular(*arguments),
    }


def spectra(weights: Sequence[Tensor], representations: Tensor, embeddings: Tensor) -> Arrays:
    """Singular values of every weight, of the representations and of the embeddings, in float64 until stored."""
    arrays: Arrays = {
        ("weight_spectrum", layer): rank.singular_values(w.double()) for layer, w in enumerate(weights, start=1)
    }
    arrays["representation_spectrum", 0] = rank.representation_singular_values(representations)
    arrays["embedding_spectrum", 0] = rank.representation_singular_values(embeddings)
    return arrays


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
