"""Usage reports that libraries send home.

They are switched off before a library is imported: what somebody exports is nobody's business, and a machine without a
network waits for each report.
"""

from __future__ import annotations

import os

_SWITCHES = {
    "nncf": ("NNCF_CI", "1"),  # does nothing else; the package says so for machines that build things
    "ray": ("RAY_USAGE_STATS_ENABLED", "0"),
    "albumentations": ("NO_ALBUMENTATIONS_UPDATE", "1"),  # asks for newer versions when it is imported
}


def send_none(library: str) -> None:
    """Switch off the reports of `library`, which is not imported yet.

    What the environment says comes first.
    """
    os.environ.setdefault(*_SWITCHES[library])
