"""edgeyolo's suite for backends, on this one."""

import pytest

from edgeyolo.backend.conformance import *  # noqa: F403


@pytest.fixture(scope="module", params=["cpu-opencv-fp32"])
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param)
