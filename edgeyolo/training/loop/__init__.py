"""The training loop: steps, schedule, state on disk, several processes."""
