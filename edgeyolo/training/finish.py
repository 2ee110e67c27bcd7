"""The end of a run: train, then draw its pictures."""

from __future__ import annotations

from typing import Any

from edgeyolo.errors import RuntimeMissingError
from edgeyolo.training.loop.history import draw_history
from edgeyolo.training.loop.trainer import Trainer
from edgeyolo.training.report.pages import draw_found, draw_labels


def finish(trainer: Trainer) -> list[dict[str, Any]]:
    """Run to the end, then draw the results.

    They are results.png, labels.png and, of the validation, val_batch.jpg.
    """
    history = trainer.run()
    if trainer.processes.leads:
        try:
            draw_history(trainer.folder / "results.png", history)
            draw_labels(trainer.folder / "labels.png", trainer.training)
        except RuntimeMissingError as error:
            trainer.listener.note(f"no plots: {error.message}")
        if trainer.validation is not None:
            draw_found(trainer.folder / "val_batch.jpg", trainer.pipeline(), trainer.validation)
    return history
