"""Row orders and noise of a seed: every row once an epoch, and a resumed stream goes on where it was."""

from pathlib import Path

import torch

from werank_core.training.checkpoints import Checkpoints
from werank_core.training.draws import BatchOrder, SeedStream, sent


def test_batches_visit_every_row_once_an_epoch() -> None:
    order = BatchOrder(3, 10, 3)
    epochs = [torch.cat([order.rows(3 * epoch + i) for i in range(3)]) for epoch in range(2)]
    assert all(len(set(epoch.tolist())) == 9 for epoch in epochs)
    assert not torch.equal(*epochs)
    assert torch.equal(BatchOrder(3, 10, 3).rows(4), order.rows(4)), "a function of the step alone"


def test_a_full_batch_is_all_rows_in_order() -> None:
    assert BatchOrder(3, 10, 10).rows(7).tolist() == list(range(10))


def test_a_stream_visits_every_row_once_an_epoch_and_drops_the_short_rest() -> None:
    stream = SeedStream(3, 10)
    epochs = [torch.cat([stream.rows(3).clone() for _ in range(3)]) for _ in range(2)]
    assert all(len(set(epoch.tolist())) == 9 for epoch in epochs)
    assert not torch.equal(*epochs)


def test_a_restored_stream_draws_what_the_other_would_have_drawn(tmp_path: Path) -> None:
    stream, other = SeedStream(3, 10), SeedStream(4, 10)
    for _ in range(4):
        stream.rows(3)
        stream.noise(2, 3)
    Checkpoints(tmp_path / "c", "a").save(stream.tree, 4)
    Checkpoints(tmp_path / "c", "a").restore(other.tree)
    for _ in range(5):
        assert torch.equal(stream.rows(3), other.rows(3))
        assert torch.equal(stream.noise(2, 3), other.noise(2, 3))


def test_what_is_sent_arrives_in_the_type_asked_for() -> None:
    found = sent(torch.arange(3.0), "cpu", torch.float64)
    assert found.dtype == torch.float64
    assert found.tolist() == [0, 1, 2]
