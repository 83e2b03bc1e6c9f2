"""Frozen configs: one schema is form, CLI, validation, record and cache key."""

from werank_core.config.schema import ExperimentConfig, explain, setting, trait
from werank_core.config.toy_ssl import TOY_PRESETS, ToySSLConfig

__all__ = ["TOY_PRESETS", "ExperimentConfig", "ToySSLConfig", "explain", "setting", "trait"]
