"""Stacked optimizers against torch.optim, run by run."""

import pytest
import torch

from werank_core.training.optim import SGD, Adam, cosine_factor

RATES = (0.1, 0.01, 0.003)


def stacked_and_solo(make_stacked, make_solo, steps: int = 7):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 4, 2, dtype=torch.float64, generator=generator)
    gradients = torch.randn(steps, 3, 4, 2, dtype=torch.float64, generator=generator)
    stacked = {"w": start.clone()}
    optimizer = make_stacked(stacked)
    for gradient in gradients:
        optimizer.step({"w": gradient})
    solo = []
    for run, rate in enumerate(RATES):
        parameter = torch.nn.Parameter(start[run].clone())
        reference = make_solo(parameter, rate)
        for gradient in gradients:
            parameter.grad = gradient[run].clone()
            reference.step()
        solo.append(parameter.detach())
    return stacked["w"], torch.stack(solo)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_torchs(momentum: float) -> None:
    mine, theirs = stacked_and_solo(
        lambda p: SGD(p, RATES, momentum), lambda p, rate: torch.optim.SGD([p], lr=rate, momentum=momentum)
    )
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_adam_and_adamw_are_torchs(weight_decay: float) -> None:
    mine, theirs = stacked_and_solo(
        lambda p: Adam(p, RATES, weight_decay=weight_decay),
        lambda p, rate: torch.optim.AdamW([p], lr=rate, weight_decay=weight_decay),
    )
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("make", [lambda p: SGD(p, RATES, 0.9), lambda p: Adam(p, RATES)])
def test_a_nan_gradient_leaves_the_neighbours_bit_identical(make) -> None:
    clean, broken = ({"w": torch.ones(3, 2)} for _ in range(2))
    gradient = torch.arange(6.0).reshape(3, 2)
    spoiled = gradient.clone()
    spoiled[1] = torch.nan
    for _ in range(3):
        make(clean).step({"w": gradient})
        make(broken).step({"w": spoiled})
    assert broken["w"][1].isnan().all()
    assert torch.equal(clean["w"][[0, 2]], broken["w"][[0, 2]])


def test_state_round_trip_continues_exactly() -> None:
    parameters = {"w": torch.ones(3, 2)}
    first = Adam(parameters, RATES)
    first.step({"w": torch.full((3, 2), 0.5)})
    copy = {"w": parameters["w"].clone()}
    second = Adam(copy, RATES)
    second.load_state({name: t.clone() for name, t in first.state.items()})
    for optimizer in (first, second):
        optimizer.step({"w": torch.full((3, 2), -0.25)})
    assert torch.equal(parameters["w"], copy["w"])


def test_cosine_schedule_hits_its_closed_form() -> None:
    assert [cosine_factor(s, 100, 10) for s in (0, 5, 10, 55, 100)] == pytest.approx([0, 0.5, 1, 0.5, 0], abs=1e-12)
    assert cosine_factor(7, 5, 5) == 1.0
