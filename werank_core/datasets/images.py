"""Image data sets as rows of pixels, standardised on the training rows."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits as sklearn_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from werank_core.datasets.digests import content_digest
from werank_core.datasets.errors import ImageError
from werank_core.streams import Purpose, stream_seed


@dataclass(frozen=True)
class LabelledSplit:
    """Training and test rows `(N, d)` with labels `(N,)`."""

    train_rows: Tensor
    train_labels: Tensor
    test_rows: Tensor
    test_labels: Tensor

    @property
    def num_classes(self) -> int:
        """K, counted over both parts."""
        return int(max(self.train_labels.max(), self.test_labels.max())) + 1


DIGITS_TRAIN = 1_200
DIGITS_DIGEST = "3c54dc8519e1085c"
"""Of the digits that come with scikit-learn: other ones would be other data under the same name."""


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    data = sklearn_digits()
    if content_digest({"images": data.data, "labels": data.target}) != DIGITS_DIGEST:
        raise ImageError("the digits of the installed scikit-learn are not the ones this version was made for.")
    return data.data, data.target


def load_digits(seed: int) -> LabelledSplit:
    """scikit-learn's 1,797 real 8x8 digits (UCI optical recognition test set), 10 classes, no download.

    Split by class into 1,200 training and 597 test rows, standardised by `standardized_split`.
    """
    rows, labels = _digits()
    state = stream_seed(Purpose.SPLIT, seed)
    train, test = train_test_split(np.arange(len(rows)), train_size=DIGITS_TRAIN, random_state=state, stratify=labels)
    return standardized_split(
        torch.from_numpy(rows), torch.from_numpy(labels).long(), torch.from_numpy(train), torch.from_numpy(test)
    )


def standardized_split(rows: Tensor, labels: Tensor, train: Tensor, test: Tensor) -> LabelledSplit:
    """The two parts, every column centred and all divided by one standard deviation, both from the training rows.

    One scale for all pixels keeps their relative size, so constant border pixels stay 0 and rare ones stay small.
    """
    centred = rows - rows[train].mean(0)
    scaled = (centred / centred[train].std()).float()
    return LabelledSplit(scaled[train], labels[train], scaled[test], labels[test])
