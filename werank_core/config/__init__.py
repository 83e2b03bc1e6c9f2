"""Frozen configs: one schema is form, CLI, validation, record and cache key."""

from werank_core.config.formulas import Formula, penalty_formula
from werank_core.config.graph import GRAPH_PRESETS, GraphConfig
from werank_core.config.problems import Misfit, Problem, explain, problems
from werank_core.config.rank_collapse import RANK_COLLAPSE_PRESETS, RankCollapseConfig
from werank_core.config.schema import ExperimentConfig, choices, setting, title_of, trait
from werank_core.config.toy_ssl import TOY_PRESETS, ToySSLConfig

__all__ = [
    "GRAPH_PRESETS",
    "RANK_COLLAPSE_PRESETS",
    "TOY_PRESETS",
    "ExperimentConfig",
    "Formula",
    "GraphConfig",
    "Misfit",
    "Problem",
    "RankCollapseConfig",
    "ToySSLConfig",
    "choices",
    "explain",
    "penalty_formula",
    "problems",
    "setting",
    "title_of",
    "trait",
]
