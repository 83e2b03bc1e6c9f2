"""Measurements on representations, weights and gradients: pure functions of torch tensors."""
