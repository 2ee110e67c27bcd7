"""All settings of a run as YAML, to read, to compare and to repeat it."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path

from edgeyolo.errors import RuntimeMissingError
from edgeyolo.support.files import atomic_file
from edgeyolo.support.install import install_hint
from edgeyolo.training.config import TrainConfig
from edgeyolo.training.loop.listener import Listener
from edgeyolo.training.loop.schedule import Schedule
from edgeyolo.training.loop.state import Position
from edgeyolo.training.sources import DataSource
from edgeyolo.version import __version__

FILE = "settings.yaml"


class SettingsListener(Listener):
    """Writes settings.yaml into a run's folder when the run begins or goes on."""

    def __init__(self, folder: Path, source: DataSource) -> None:
        self._file, self._source = folder / FILE, source

    def start(self, config: TrainConfig, schedule: Schedule, position: Position) -> None:
        try:
            import yaml
        except ImportError as error:
            raise RuntimeMissingError("writing YAML needs PyYAML", hint=install_hint("train")) from error
        settings = {
            "edgeyolo": __version__,
            "command": shlex.join(["edgeyolo", *sys.argv[1:]]),
            "data": asdict(self._source),
            "config": config.to_dict(),
            "recipe": schedule.recipe.to_dict(),
        }
        with atomic_file(self._file) as draft:
            draft.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), encoding="utf-8")
