"""Compare: only what differs, curves in one picture, differences with the right pairing, spectra."""

import numpy as np
import pytest

from tests.pages.conftest import OpenPage, charts, words
from tests.pages.stores import finished_cleanly, finished_sweep
from werank_core.store import Store, queries


def test_two_sweeps_differ_in_what_they_differ_in(open_page: OpenPage, store: Store) -> None:
    first, second = finished_sweep(store, name="flat"), finished_cleanly(store, name="deep", depth=3, bias=True)
    at = open_page("pages/compare.py", compare_items=[first, second])
    settings, differences = (table.value for table in at.dataframe)
    assert sorted(settings["setting"]) == ["Bias", "Depth"]
    assert settings.set_index("setting").loc["Depth", ["flat", "deep"]].tolist() == ["2", "3"]
    assert len(differences) == 3 * 3
    assert differences["n"].tolist() == ["3 pairs", "3 pairs", "1 pair"] * 3
    assert differences["strength"].tolist() == ["0", "0.1", "1"] * 3


def test_curves_and_spectra_have_one_line_an_item(open_page: OpenPage, store: Store) -> None:
    first, second = finished_sweep(store, name="flat"), finished_cleanly(store, name="deep", depth=3)
    curves, spectra = charts(open_page("pages/compare.py", compare_items=[first, second]))
    means = [t for t in curves["data"] if t["mode"] == "lines+markers"]
    assert [t["name"] for t in means] == ["deep", "flat"] * 3
    assert len({(t["line"]["color"], t["line"]["dash"]) for t in means}) == 2
    lines = [t for t in spectra["data"] if t.get("name")]
    assert [t["name"].split(":")[0] for t in lines] == ["deep", "flat"]
    assert {t["name"].split(":")[0]: t["line"]["color"] for t in lines} == {
        t["name"]: t["line"]["color"] for t in means[:2]
    }


def test_two_strengths_of_one_sweep_are_paired_by_seed(open_page: OpenPage, store: Store) -> None:
    sweep_id = finished_sweep(store)
    at = open_page("pages/compare.py", compare_items=[f"{sweep_id}@0", f"{sweep_id}@0.1"])
    settings, differences = (table.value for table in at.dataframe)
    assert settings["setting"].tolist() == ["Strength"]
    assert differences["n"].tolist() == ["3 pairs"] * 3
    assert "strength" not in differences
    frame = queries.final_metrics(store, [sweep_id], metrics=["test/effective_rank"])
    values = frame.pivot_table(index="seed", columns="strength", values="value")
    gap = (values[0.1] - values[0.0]).mean()
    assert differences["difference [95% interval]"].iloc[0].startswith(f"+{gap:.3f}")


def test_a_sweep_is_compared_with_a_strength_at_that_strength(open_page: OpenPage, store: Store) -> None:
    first, second = finished_cleanly(store, name="flat"), finished_cleanly(store, name="deep", depth=3)
    at = open_page("pages/compare.py", compare_items=[first, f"{second}@0.1"])
    assert at.dataframe[1].value["strength"].tolist() == ["0.1"] * 3


def test_a_second_axis_of_words_is_compared_value_by_value(open_page: OpenPage, store: Store) -> None:
    """Spectra too: a mean over linear and ReLU encoders would be the spectrum of neither, with twice the seeds."""
    axis = {"second_axis": "encoder", "second_values": ("linear", "relu"), "seeds": 2}
    first, second = finished_cleanly(store, name="flat", **axis), finished_cleanly(store, name="deep", depth=3, **axis)
    at = open_page("pages/compare.py", compare_items=[first, second])
    settings, differences = (table.value for table in at.dataframe)
    assert settings["setting"].tolist() == ["Depth"]
    assert set(differences["second axis"]) == {"linear", "ReLU"}
    assert set(differences["n"]) == {"2 pairs"}
    curves, spectra = charts(at)
    assert {t["name"] for t in curves["data"] if t["mode"] == "lines+markers"} == {
        "linear, deep", "linear, flat", "ReLU, deep", "ReLU, flat",
    }  # fmt: skip
    assert sorted(t["name"].split(":")[0] for t in spectra["data"] if t.get("name")) == [
        "deep, ReLU", "deep, linear", "flat, ReLU", "flat, linear",
    ]  # fmt: skip
    plain = finished_cleanly(store, name="plain", seeds=2)
    curves = charts(open_page("pages/compare.py", compare_items=[first, plain]))[0]
    names = [t["name"] for t in curves["data"] if t["mode"] == "lines+markers"]
    assert set(names) == {"linear, flat", "ReLU, flat", "plain"}


def test_settings_are_told_as_the_form_tells_them(open_page: OpenPage, store: Store) -> None:
    first, second = (
        finished_cleanly(store, name="a"),
        finished_cleanly(store, name="b", objective="byol", bias=True),
    )
    settings = open_page("pages/compare.py", compare_items=[first, second]).dataframe[0].value.set_index("setting")
    assert settings.loc["Objective"].tolist() == ["InfoNCE", "BYOL"]
    assert settings.loc["Bias"].tolist() == ["off", "on"]


def test_sweeps_of_one_name_stay_apart(open_page: OpenPage, store: Store) -> None:
    first, second = finished_cleanly(store, name="same"), finished_cleanly(store, name="same", depth=3)
    at = open_page("pages/compare.py", compare_items=[first, second])
    assert len(at.dataframe[0].value.columns) == 3
    means = [t for t in charts(at)[0]["data"] if t["mode"] == "lines+markers"]
    assert len({t["name"] for t in means}) == 2


def test_seeds_that_are_not_shared_are_compared_unpaired(open_page: OpenPage, store: Store) -> None:
    first = finished_cleanly(store, name="early")
    second = finished_cleanly(store, name="late", first_seed=10)
    at = open_page("pages/compare.py", compare_items=[first, second])
    assert "Nothing: the same configuration." in words(at)
    assert set(at.dataframe[0].value["n"]) == {"3 + 3 unpaired"}


def test_different_strengths_share_nothing_and_say_so(open_page: OpenPage, store: Store) -> None:
    first = finished_cleanly(store, name="weak", strengths=(0.1,))
    second = finished_cleanly(store, name="strong", strengths=(1.0,))
    at = open_page("pages/compare.py", compare_items=[f"{first}@0.1", second])
    assert "They share no strength" in words(at)


@pytest.mark.parametrize("keys", [["nothing"], ["nothing", "0000000000000000@0.1"]])
def test_an_address_with_unknown_items_chooses_nothing(open_page: OpenPage, store: Store, keys: list[str]) -> None:
    finished_sweep(store)
    at = open_page("pages/compare.py", compare_items=keys)
    assert at.multiselect(key="compare_items").value == []
    assert "Choose at least two." in words(at)


def test_the_spectrum_drawn_is_the_mean_over_seeds_at_the_shared_strength(open_page: OpenPage, store: Store) -> None:
    first, second = finished_cleanly(store, name="flat"), finished_cleanly(store, name="deep", depth=3)
    at = open_page("pages/compare.py", compare_items=[first, second])
    arrays = queries.arrays(store, queries.runs(store, [first])["run_id"].tolist(), "representation_spectrum")
    at_focus = arrays[arrays["strength"] == 0.1]
    mean = np.mean(np.stack(list(at_focus["values"])), axis=0)
    (line,) = [t for t in charts(at)[1]["data"] if t.get("name", "").startswith("flat:")]
    np.testing.assert_allclose(line["y"], mean, rtol=1e-5)
