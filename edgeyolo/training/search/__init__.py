"""Hyper-parameter search: runs with recipes that Optuna proposes, and what is learned from them."""
