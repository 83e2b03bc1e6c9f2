"""ogbn-arxiv from the Open Graph Benchmark's own archive: papers, citations, and splits by year of publication."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data, download_url, extract_zip

URL = "http://snap.stanford.edu/ogb/data/nodeproppred/arxiv.zip"


def read_arxiv(root: Path) -> Data:
    """The citation graph, with its masks; the archive is fetched unless `root` holds it unpacked in `arxiv/`.

    The ogb package reads the same files, but unpickles what it kept of them, which PyTorch refuses since 2.6.
    Source: Hu et al. 2020, section 4.1; training papers until 2017, validation 2018, test since 2019.
    """
    folder = root / "arxiv"
    if not folder.exists():
        extract_zip(download_url(URL, str(root)), str(root))
    labels = _table(folder / "raw" / "node-label.csv.gz", np.int64)[:, 0]
    return Data(
        x=torch.from_numpy(_table(folder / "raw" / "node-feat.csv.gz", np.float32)),
        edge_index=torch.from_numpy(_table(folder / "raw" / "edge.csv.gz", np.int64).T.copy()),
        y=torch.from_numpy(labels.copy()),
        **{
            f"{mask}_mask": _mask(_table(folder / "split" / "time" / f"{part}.csv.gz", np.int64)[:, 0], len(labels))
            for mask, part in (("train", "train"), ("val", "valid"), ("test", "test"))
        },
    )


def _table(path: Path, dtype: type) -> NDArray[np.generic]:
    return pd.read_csv(path, header=None, dtype=dtype).to_numpy()


def _mask(rows: NDArray[np.generic], size: int) -> Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    mask[torch.from_numpy(rows.copy())] = True
    return mask
