"""The end of a run: train, then draw its pictures."""

from __future__ import annotations

import shlex
from typing import Any

from edgeyolo.errors import RuntimeMissingError, UsageError
from edgeyolo.evaluation.plots import write_plots
from edgeyolo.training.loop.history import draw_history
from edgeyolo.training.loop.trainer import LAST, Trainer
from edgeyolo.training.report.pages import draw_found, draw_labels


def go_on(trainer: Trainer) -> list[dict[str, Any]]:
    """Resume a run and finish it.

    Of one that has ended it says so, and how to train longer.
    """
    trainer.resume()
    done, folder = trainer.position.epoch, shlex.quote(str(trainer.folder))
    if trainer.config.epochs < done:
        raise UsageError(
            f"{trainer.folder}: {done} epochs are done already, more than --epochs {trainer.config.epochs}",
            hint=f"edgeyolo train --resume {folder} --epochs {2 * done}",
        )
    if trainer.ended:
        longer = f"edgeyolo train --resume {folder} --epochs {2 * done}"
        if done < trainer.config.epochs:
            longer = f"start a new run from {trainer.folder / LAST}, with a larger --patience"
        trainer.listener.note(f"the run has ended: {trainer.ended}. To train longer: {longer}")
    return finish(trainer)


def finish(trainer: Trainer) -> list[dict[str, Any]]:
    """Run to the end, then draw the results.

    They are results.png, labels.png and, of the validation, val_batch.jpg.
    """
    history = trainer.run()
    if trainer.processes.leads:
        try:
            draw_history(trainer.folder / "results.png", history)
            draw_labels(trainer.folder / "labels.png", trainer.training)
            if trainer.judged is not None:  # a run that had ended already has them
                write_plots(trainer.folder, trainer.judged.curves, trainer.judged.confusion)
        except RuntimeMissingError as error:
            trainer.listener.note(f"no plots: {error.message}")
        if trainer.validation is not None:
            draw_found(trainer.folder / "val_batch.jpg", trainer.pipeline(), trainer.validation)
    return history
