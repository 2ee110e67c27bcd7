"""Measuring: scenarios, steady state, stopwatches, worker processes."""
