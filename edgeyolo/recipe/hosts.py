"""The hosts that there are recipes for."""

from __future__ import annotations

from collections.abc import Mapping

from edgeyolo.recipe.deepstream import DEEPSTREAM
from edgeyolo.recipe.docker import DOCKER
from edgeyolo.recipe.frigate import FRIGATE
from edgeyolo.recipe.host import Host
from edgeyolo.recipe.ovms import OVMS
from edgeyolo.recipe.triton import TRITON
from edgeyolo.recipe.trtexec import TRTEXEC
from edgeyolo.recipe.web import WEB

HOSTS: Mapping[str, Host] = {
    host.name: host for host in (TRITON, DEEPSTREAM, FRIGATE, OVMS, TRTEXEC, DOCKER, WEB)
}
