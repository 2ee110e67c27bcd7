"""The suite that every backend passes, on every target of ours that this machine can make."""

from __future__ import annotations

import pytest

from edgeyolo.backend import conformance, registry
from edgeyolo.backend.conformance import *  # noqa: F403

TARGETS = [str(profile.target) for profile, _ in registry.profiles()]


@pytest.fixture(scope="module", params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_suite_is_taken_over_whole() -> None:
    tests = [name for name in conformance.__all__ if name.startswith("test_")]
    assert len(tests) >= 16
    assert set(tests) <= set(globals())
