"""Stacked optimizers against torch.optim, run by run."""

import pytest
import torch

from werank_core.training.optim import SGD, Adam, Decay, cosine_factor

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


def decay_of(strength: float, *, coupled: bool = True) -> Decay:
    return Decay([strength] * len(RATES), {"w"}, coupled)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_torchs(momentum: float) -> None:
    mine, theirs = stacked_and_solo(
        lambda p: SGD(p, RATES, decay_of(0.3), momentum=momentum),
        lambda p, rate: torch.optim.SGD([p], lr=rate, momentum=momentum, weight_decay=0.3),
    )
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
@pytest.mark.parametrize("coupled", [True, False])
def test_adam_and_adamw_are_torchs(weight_decay: float, coupled: bool) -> None:
    reference = torch.optim.Adam if coupled else torch.optim.AdamW
    mine, theirs = stacked_and_solo(
        lambda p: Adam(p, RATES, decay_of(weight_decay, coupled=coupled)),
        lambda p, rate: reference([p], lr=rate, weight_decay=weight_decay),
    )
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("make", [lambda p: SGD(p, RATES, momentum=0.9), lambda p: Adam(p, RATES)])
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
    for name, tensor in first.state.items():
        second.state[name].copy_(tensor)
    for optimizer in (first, second):
        optimizer.step({"w": torch.full((3, 2), -0.25)})
    assert torch.equal(parameters["w"], copy["w"])


def test_cosine_schedule_hits_its_closed_form() -> None:
    assert [cosine_factor(s, 100, 10) for s in (0, 5, 10, 55, 100)] == pytest.approx([0, 0.5, 1, 0.5, 0], abs=1e-12)
    assert cosine_factor(7, 5, 5) == 1.0


@pytest.mark.parametrize("coupled", [True, False])
@pytest.mark.parametrize("kind", [SGD, Adam])
def test_decay_acts_on_the_named_parameters_and_by_the_strength_of_each_run(kind, coupled) -> None:
    start = {name: torch.ones(3, 2) for name in ("weight", "bias")}
    parameters = {name: p.clone() for name, p in start.items()}
    optimizer = kind(parameters, RATES, Decay((0.0, 0.5, 1.0), {"weight"}, coupled))
    optimizer.step({name: torch.zeros(3, 2) for name in start})
    assert torch.equal(parameters["bias"], start["bias"])
    assert (parameters["weight"] < 1).all(1).tolist() == [False, True, True]


@pytest.mark.parametrize("coupled", [True, False])
@pytest.mark.parametrize("kind", [SGD, Adam])
def test_stopped_runs_stay_and_go_on_when_they_no_longer_are(kind, coupled) -> None:
    parameters = {"w": torch.ones(3, 2)}
    optimizer = kind(parameters, RATES, decay_of(0.2, coupled=coupled))
    optimizer.stop(torch.tensor([False, True, False]))
    optimizer.step({"w": torch.ones(3, 2)})
    assert (parameters["w"] == 1).all(1).tolist() == [False, True, False]
    optimizer.stop(torch.tensor([False, False, True]))
    before = parameters["w"].clone()
    optimizer.step({"w": torch.ones(3, 2)})
    assert (parameters["w"] == before).all(1).tolist() == [False, False, True]


@pytest.mark.parametrize("kind", [SGD, Adam])
def test_parameters_become_views_of_one_matrix_that_start_where_new_tensors_would(kind) -> None:
    start = {"a": torch.randn(3, 5, 7), "b": torch.randn(3, 3), "c": torch.randn(3, 2, 8)}
    parameters = {name: p.clone() for name, p in start.items()}
    optimizer = kind(parameters, (0.0, 0.1, 0.1))
    assert all(torch.equal(parameters[name], p) for name, p in start.items())
    assert len({p.untyped_storage().data_ptr() for p in parameters.values()}) == 1
    assert all(p[run].data_ptr() % 64 == 0 for p in parameters.values() for run in range(3))
    optimizer.step({name: torch.ones_like(p) for name, p in start.items()})
    for name, p in start.items():
        torch.testing.assert_close(parameters[name], p - torch.tensor([0, 0.1, 0.1]).reshape(-1, *[1] * (p.ndim - 1)))
