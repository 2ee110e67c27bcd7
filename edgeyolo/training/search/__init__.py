"""Hyper-parameter search: runs with recipes that Optuna proposes."""
