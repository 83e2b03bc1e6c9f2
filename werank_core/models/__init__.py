"""Ordinary modules for ONE run, readable against the papers; stacking is the business of training."""
