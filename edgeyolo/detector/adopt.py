"""Files that other tools made.

A spec that says what goes in and what comes out makes artifacts of them.

Which outputs can be adopted, by the `kind` that a spec names (`edgeyolo.artifact.contracts` says more of each):
    raw maps        head maps of YOLOv7 and its like, one for each stride, before the sigmoid
    decoded boxes   (n, boxes, 5 + classes) of YOLOv5 and v7; with "objectness": false and "transposed": true
                    (n, 4 + classes, boxes) of YOLOv8, v9 and v11
    ranked boxes    (n, rows, 6): corners, score, class, of YOLOv10 and of files that suppress themselves
    detections      count, boxes, scores and labels, as TensorRT's EfficientNMS gives them

A spec is JSON:
    class_names   one name per class, or a file of them, one a line
    input         fields of `edgeyolo.artifact.contracts.InputContract`; name, height and width at least
    output        fields of `RawMaps`, `DecodedBoxes`, `RankedBoxes` or `GraphDetections`, with their `kind`
    target        where the suffix leaves it open, such as npu-openvino-int8
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256 as new_sha256
from pathlib import Path
from typing import Any

from edgeyolo.artifact.artifact import MANIFEST, Artifact
from edgeyolo.artifact.cached import made_once
from edgeyolo.artifact.contract_faults import contract_faults
from edgeyolo.artifact.contracts import InputContract, OutputContract, output_from_json
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.artifact.target import Target
from edgeyolo.backend import registry
from edgeyolo.backend.interface import AdoptingBackend
from edgeyolo.backend.ports import with_file_types
from edgeyolo.detector.port_guess import FILL_IN, recognise
from edgeyolo.errors import DamagedFileError, EdgeYoloError, FileRefusedError, RuntimeMissingError, UsageError
from edgeyolo.support.dataclass_json import from_plain
from edgeyolo.support.files import atomic_directory, user_cache
from edgeyolo.support.hashes import sha256
from edgeyolo.support.reading import read_text
from edgeyolo.version import __version__

SpecSource = str | Path | Mapping[str, Any]


@dataclass(frozen=True)
class Spec:
    """Specification of a foreign file's inputs and outputs."""

    class_names: tuple[str, ...]
    input: InputContract
    output: OutputContract
    target: Target | None = None

    @classmethod
    def read(cls, source: SpecSource) -> Spec:
        """Read a spec from a JSON file, or from such a file's contents.

        UsageError says what does not fit.
        """
        where = "spec" if isinstance(source, Mapping) else str(source)
        data = dict(source) if isinstance(source, Mapping) else _parsed(Path(source))
        if FILL_IN in json.dumps(data):
            raise UsageError(
                f"{where}: {FILL_IN!r} still stands in it",
                hint="Replace each by what the file was made with.",
            )
        required, known = {"class_names", "input", "output"}, {"class_names", "input", "output", "target"}
        if required - set(data) or set(data) - known:
            raise UsageError(
                f"{where}: missing {sorted(required - set(data))}, unknown {sorted(set(data) - known)}",
                hint="`edgeyolo adopt FILE --template` prints a spec to fill in.",
            )
        names = _class_names(data["class_names"], where)
        # The number of classes follows from the names; a spec that repeats it is checked below.
        output = data["output"]
        if isinstance(output, Mapping):
            output = {"classes": len(names), **output}
        try:
            made = cls(
                names,
                from_plain(InputContract, data["input"], f"{where}: input"),
                output_from_json(output, f"{where}: output"),
                Target.parse(data["target"]) if "target" in data else None,
            )
        except DamagedFileError as error:
            raise UsageError(error.message, hint="`edgeyolo adopt FILE --template` prints a spec.") from error
        if made.output.classes != len(names):
            raise UsageError(f"{where}: {len(names)} class names for {made.output.classes} classes")
        if faults := contract_faults(made.input, made.output):
            raise UsageError(
                f"{where}: it does not fit: {'; '.join(faults[:4])}",
                hint="`edgeyolo adopt FILE --template` prints a spec.",
            )
        return made


def suffix_of(path: Path) -> str:
    """The suffix by which a backend knows a foreign file; "" where none does."""
    return next((suffix for suffix in _adopters() if path.name.lower().endswith(suffix)), "")


def template(file: Path) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Facts of the file as sentences, and a spec template.

    The template has `FILL_IN` for what the file does not tell.
    """
    backend, _ = _adopter(file)
    try:
        inputs, outputs = backend.ports(file)
    except EdgeYoloError as error:
        if error.exit_code == 6:
            raise
        told = recognise((), ())
        return (f"nothing is known of it: {error.message}",), told.template
    metadata = getattr(backend, "metadata", None)
    told = recognise(inputs, outputs, metadata(file) if metadata else {})
    return told.sentences, told.template


def require_spec(file: Path, spec: SpecSource | None) -> SpecSource:
    """Return the spec, or raise UsageError with one to fill in.

    The error says what the file tells and what it does not.
    """
    if spec is not None:
        return spec
    sentences, blank = template(file)
    raise UsageError(
        f"{file} has no manifest, so what goes in and what its outputs mean must be said. Of the file itself: "
        + "; ".join(sentences)
        + ".",
        hint=f'Save this as spec.json with every "{FILL_IN}" replaced, then give spec="spec.json" (--spec spec.json), '
        f"or make an artifact of it: edgeyolo adopt {file} --spec spec.json -o DIR\n{json.dumps(blank, indent=1)}",
    )


def adopt(file: str | Path, spec: SpecSource, into: str | Path, *, overwrite: bool = False) -> Artifact:
    """Make an artifact of a foreign file.

    It is run once, on a generated picture: what it takes and gives must have the shapes that the spec says,
    and the result becomes its golden vectors. Its parity with torch is not known.

    Raises UsageError where the spec does not fit, RuntimeMissingError where the runtime is not here.
    """
    path, stated = Path(file), Spec.read(spec)
    backend, target = _adopter(path)
    if stated.target is not None:
        found = registry.find_target(stated.target)[1]
        if not isinstance(found, AdoptingBackend) or suffix_of(path) not in found.adopts:
            raise UsageError(f"spec: target {stated.target} does not run {path.name}, {backend.name} does")
        backend, target = found, stated.target
    registry.require(backend.can_run(), f"{path} is run once as it is adopted, which needs {backend.name}")
    given, output = with_file_types(stated.input, stated.output, *backend.ports(path))
    manifest = Manifest(
        target, backend.name, path.name.removesuffix(suffix_of(path)), {}, stated.class_names, given,
        output, files={}, tools={"edgeyolo": __version__, backend.name: backend.can_run().version},
        provenance={"adopted": path.name, "sha256": _hash(backend.parts(path))},
    )  # fmt: skip
    with atomic_directory(into, overwrite=overwrite, marker=MANIFEST) as folder:
        for name, part in backend.parts(path).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(part, folder / name)
        draft = Artifact.seal(folder, manifest)
        _try(draft, path)
        Artifact.seal(folder, manifest)
    return Artifact.open(into)


def adopted(file: Path, spec: SpecSource) -> Artifact:
    """Artifact of a foreign file and its spec, in the cache.

    It is made at the first call.
    """
    stated, (backend, _) = Spec.read(spec), _adopter(file)
    key = new_sha256(f"{_hash(backend.parts(file))} {stated} {__version__}".encode()).hexdigest()[:20]
    place = user_cache() / "adopted" / f"{file.stem}-{key}"
    return made_once(place, lambda: adopt(file, spec, place, overwrite=True))


def _try(draft: Artifact, file: Path) -> None:
    from edgeyolo.datasets.scenes import make_scene
    from edgeyolo.runtime.golden import write_golden

    manifest = draft.manifest
    try:
        with closing(registry.open_session(draft)) as session:
            write_golden(
                draft.path / "golden.npz", session, manifest.input, manifest.output, make_scene(0).image
            )
    except DamagedFileError as error:
        message = error.message.replace(str(draft.path), file.name).replace("manifest", "spec")
        raise UsageError(
            f"the spec does not fit: {message}", hint=f"edgeyolo adopt {file} --template"
        ) from error
    except (FileRefusedError, RuntimeMissingError):
        raise
    except Exception as error:  # runtimes refuse a tensor of another name or shape each in their own way
        message = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"the spec does not fit: {message}",
            hint=f"edgeyolo adopt {file} --template says what the file takes.",
        ) from error


def _adopters() -> dict[str, tuple[AdoptingBackend, Target]]:
    """Backends and targets by file suffix, longest suffix first."""
    found: dict[str, tuple[AdoptingBackend, Target]] = {}
    for backend in registry.backends().values():
        if isinstance(backend, AdoptingBackend):
            for suffix, target in backend.adopts.items():
                found.setdefault(suffix, (backend, target))
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


def _adopter(file: Path) -> tuple[AdoptingBackend, Target]:
    if not file.exists():
        raise UsageError(f"{file}: nothing is there")
    suffix = suffix_of(file)
    if not suffix:
        known = ", ".join(_adopters())
        raise UsageError(
            f"{file}: no backend here takes files of others with that name", hint=f"Known are {known}."
        )
    return _adopters()[suffix]


def _class_names(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            value = read_text(value, error=UsageError).split("\n")
        except FileNotFoundError as error:
            raise UsageError(f"{where}: class_names: expected a list or a file of names: {error}") from error
        value = [line.strip() for line in value if line.strip()]
    if not isinstance(value, list | tuple) or not value:
        raise UsageError(f"{where}: class_names: expected a list of names, got {value!r}")
    return tuple(str(name) for name in value)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(read_text(path, error=UsageError))
    except UsageError:  # a ValueError too
        raise
    except FileNotFoundError as error:
        raise UsageError(f"{path}: the spec cannot be read: there is no such file") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: the spec is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path}: expected a JSON object, found {type(data).__name__}")
    return data


def _hash(parts: Mapping[str, Path]) -> str:
    """One SHA-256 for all files that make up a foreign file."""
    text = "".join(f"{name} {sha256(part)}\n" for name, part in sorted(parts.items()))
    return new_sha256(text.encode()).hexdigest()
