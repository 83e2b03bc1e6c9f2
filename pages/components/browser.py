"""What only the browser knows: the range a person zooms to, kept in the link; and focus, which is kept on its own."""

import hashlib
import math
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import streamlit as st

Ranges = dict[str, tuple[float, float]]

_SCRIPT = (Path(__file__).parent / "browser.js").read_text(encoding="utf-8")
_BRIDGE = st.components.v2.component("werank_browser", js=_SCRIPT)
_KEY, _ZOOMS, _SCOPES = "browser", "browser_zooms", "browser_scopes"
_AXIS = re.compile(r"[xy]\d{0,2}")


def listen() -> None:
    """Mount the script once on a page, before its charts."""
    _BRIDGE(key=_KEY, on_zoom_change=_note_zoom, height=1)


def _note_zoom() -> None:
    """Keep what the script says of a chart that is on the page."""
    said = getattr(st.session_state.get(_KEY), "zoom", None) or {}
    key, axes = str(said.get("chart")), said.get("axes")
    scope = st.session_state.get(_SCOPES, {}).get(key)
    if scope is None or not isinstance(axes, Mapping):
        return
    before = zooms().get(key, ("", {}))
    kept = dict(before[1]) if before[0] == scope else {}
    for axis, ends in axes.items():
        kept.pop(axis, None)
        if ends is not None and (found := _range(axis, ends)):
            kept[axis] = found
    zooms()[key] = scope, kept


def zooms() -> dict[str, tuple[str, Ranges]]:
    """Chart -> what it showed when it was zoomed, and the ranges of its axes."""
    kept: dict[str, tuple[str, Ranges]] = st.session_state.setdefault(_ZOOMS, {})
    return kept


def zoomed(figure: go.Figure, key: str, scope: Sequence[Hashable]) -> go.Figure:
    """The figure at the ranges a person chose for it, and these in the address; as it is where none were chosen.

    `scope` says what the figure is of, whatever state its runs are in: ranges of something else do not apply.
    """
    name, parameter = hashlib.sha256(repr(scope).encode()).hexdigest()[:6], f"{key}_zoom"
    st.session_state.setdefault(_SCOPES, {})[key] = name
    if key not in zooms() and parameter in st.query_params:
        zooms()[key] = _parsed(st.query_params[parameter])
    chosen, ranges = zooms().get(key, ("", {}))
    ranges = {axis: ends for axis, ends in ranges.items() if _layout_name(axis) in figure.layout}
    if chosen != name or not ranges:
        st.query_params.pop(parameter, None)
        return figure
    st.query_params[parameter] = ":".join(
        [name, *(f"{axis}:{low:.6g}:{high:.6g}" for axis, (low, high) in ranges.items())]
    )
    applied = {_layout_name(axis): {"range": list(ends), "autorange": False} for axis, ends in ranges.items()}
    return go.Figure(figure).update_layout(applied)


def _parsed(text: str) -> tuple[str, Ranges]:
    """What an address says; what makes no sense in it is left out."""
    scope, *rest = text[:2_000].split(":")
    triples = zip(rest[::3], rest[1::3], rest[2::3], strict=False)
    found = {axis: _range(axis, ends) for axis, *ends in triples}
    return scope, {axis: ends for axis, ends in found.items() if ends}


def _range(axis: Any, ends: Any) -> tuple[float, float] | None:
    try:
        low, high = (float(end) for end in ends)
    except (TypeError, ValueError, OverflowError):
        return None
    sound = isinstance(axis, str) and _AXIS.fullmatch(axis) and math.isfinite(low) and math.isfinite(high)
    return (low, high) if sound and low < high else None


def _layout_name(axis: str) -> str:
    return f"{axis[0]}axis{axis[1:]}"
