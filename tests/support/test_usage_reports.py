"""Usage reports of libraries: off, unless the environment says otherwise."""

from __future__ import annotations

import os

import pytest

from edgeyolo.support.usage_reports import send_none


@pytest.mark.parametrize(
    ("library", "variable", "value"),
    [
        ("nncf", "NNCF_CI", "1"),
        ("ray", "RAY_USAGE_STATS_ENABLED", "0"),
        ("albumentations", "NO_ALBUMENTATIONS_UPDATE", "1"),
    ],
)
def test_it_is_off_and_the_environment_comes_first(
    library: str, variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "asked for")
    send_none(library)
    assert os.environ[variable] == "asked for"
    monkeypatch.delenv(variable)
    send_none(library)
    assert os.environ[variable] == value
