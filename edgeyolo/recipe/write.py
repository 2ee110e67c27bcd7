"""Write a recipe: the whole folder, or an error and no folder."""

from __future__ import annotations

from pathlib import Path

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend.registry import profiles
from edgeyolo.errors import UnsupportedTargetError, UsageError
from edgeyolo.recipe.host import Host
from edgeyolo.recipe.hosts import HOSTS
from edgeyolo.support.files import atomic_directory
from edgeyolo.support.hashes import sha256

SUMS = "SHA256SUMS"


def write_recipe(artifact: Artifact, host: str, into: str | Path, *, overwrite: bool = False) -> Path:
    """Write what a host needs to run an artifact, with a README.md and a check.sh.

    Args:
        artifact: a sealed one.
        host: a name of HOSTS.
        into: the folder, which appears whole or not at all.
        overwrite: replace a recipe that is there.

    Raises:
        UsageError: no such host, or a folder that may not be replaced.
        UnsupportedTargetError: the host cannot run the artifact; the hint has the targets that it can.
    """
    if host not in HOSTS:
        raise UsageError(f"recipe for {host!r}: expected one of {', '.join(HOSTS)}")
    chosen = HOSTS[host]
    _require_fit(chosen, artifact)
    with atomic_directory(into, overwrite=overwrite, marker=SUMS) as folder:
        chosen.fill(artifact, folder)
        free = {*chosen.edited, "README.md"}
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in free)
        lines = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
        (folder / SUMS).write_text("".join(lines), encoding="utf-8", newline="\n")
    return Path(into)


def _require_fit(host: Host, artifact: Artifact) -> None:
    target = artifact.manifest.target
    if not host.takes(target):
        known = [str(profile.target) for profile, _ in profiles() if host.takes(profile.target)]
        raise UnsupportedTargetError(
            f"{host.title} cannot run an artifact for {target}",
            hint=f"Export the weights for one of its targets: {', '.join(known)}.",
        )
    if misfit := host.misfit(artifact.manifest):
        raise UnsupportedTargetError(f"{host.title}: {misfit[0]}", hint=misfit[1])
