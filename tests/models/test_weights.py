"""The weights file: complete, checked, readable without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the export extra")
pytest.importorskip("safetensors", reason="needs the export extra")

from safetensors.torch import load_file, save_file  # noqa: E402

from edgeyolo.errors import DamagedFileError, EdgeYoloError, UsageError  # noqa: E402
from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.models.weights import is_weights, load, read_info, save  # noqa: E402

NAMES = ("Zelle", "кровь", "plate let")
ORIGIN = {"source": "run 7", "epochs": 3}


@pytest.fixture
def file(tmp_path: Path, rich_spec: Any, scramble: Any) -> Path:
    path = tmp_path / "weights.safetensors"
    save(path, scramble(build(rich_spec, classes=3)), NAMES, ORIGIN)
    return path


@pytest.mark.parametrize("form", ["training", "deploy", "plain"])
def test_a_network_comes_back_as_it_was(tmp_path: Path, rich_spec: Any, scramble: Any, form: Any) -> None:
    network = scramble(build(rich_spec, classes=3, form=form))
    save(tmp_path / "w.safetensors", network, list(NAMES), ORIGIN)
    found = load(tmp_path / "w.safetensors")
    assert (found.network.spec, found.network.form, found.network.classes) == (rich_spec, form, 3)
    assert (found.class_names, found.provenance) == (NAMES, ORIGIN)
    assert not found.network.training
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(found.network(image), network(image), strict=True))


def test_half_stores_float16_and_loads_float32(tmp_path: Path, file: Path) -> None:
    network, path = load(file).network, tmp_path / "half.safetensors"
    save(path, network, NAMES, ORIGIN, half=True)
    assert {value.dtype for value in load_file(path).values()} == {torch.float16}
    loaded = load(path).network.state_dict()
    for key, value in network.state_dict().items():
        expected = value.half().float() if value.is_floating_point() else value
        assert loaded[key].dtype == value.dtype
        assert torch.equal(loaded[key], expected)


def test_half_refuses_what_it_cannot_hold(tmp_path: Path, file: Path) -> None:
    network = load(file).network
    with torch.no_grad():
        network.outputs[0].conv.bias[0] = 1e6
    with pytest.raises(EdgeYoloError, match=r"outputs\.0\.conv\.bias has values beyond float16"):
        save(tmp_path / "half.safetensors", network, NAMES, ORIGIN, half=True)
    assert not (tmp_path / "half.safetensors").exists()


def test_a_network_in_channels_last_is_stored_the_same(tmp_path: Path, file: Path) -> None:
    weights = load(file)
    weights.network.to(memory_format=torch.channels_last)
    save(tmp_path / "w.safetensors", weights.network, NAMES, ORIGIN)
    assert read_info(tmp_path / "w.safetensors").sha256 == weights.sha256


def test_the_hash_is_of_the_weights_alone(tmp_path: Path, file: Path) -> None:
    weights = load(file)
    other = tmp_path / "other.safetensors"
    save(other, weights.network, ("a", "b", "c"), {})
    assert read_info(other).sha256 == read_info(file).sha256 == weights.sha256
    with torch.no_grad():
        weights.network.outputs[0].conv.bias[0] += 1e-3
    save(other, weights.network, NAMES, ORIGIN)
    assert read_info(other).sha256 != weights.sha256


def test_the_file_tells_about_itself_without_torch(file: Path, rich_spec: Any) -> None:
    info = read_info(file)
    assert (info.spec, info.form, info.classes) == (rich_spec, "training", 3)
    assert (info.class_names, info.provenance) == (NAMES, ORIGIN)
    code = (
        "import sys\nfrom edgeyolo.models.weights import read_info\n"
        "assert read_info(sys.argv[1]).classes == 3\n"
        "assert not {'torch', 'safetensors'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code, str(file)], check=True)


def test_class_names_must_fit(tmp_path: Path, file: Path) -> None:
    with pytest.raises(UsageError, match="2 class names for a network of 3 classes"):
        save(tmp_path / "w.safetensors", load(file).network, ("a", "b"), {})


def test_a_failed_save_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, network = file.read_bytes(), load(file).network

    def fail(_tensors: Any, path: Path, _metadata: Any) -> None:
        Path(path).write_bytes(b"half a fi")
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(KeyboardInterrupt):
        save(file, network, NAMES, {})
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 5_000, -1])
def test_a_file_cut_short_is_refused(file: Path, keep: int) -> None:
    file.write_bytes(file.read_bytes()[:keep])
    for read in (read_info, load):
        with pytest.raises(DamagedFileError, match=str(file)):
            read(file)


def test_a_file_with_something_appended_is_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(DamagedFileError, match="bytes, expected"):
        read_info(file)


def test_a_changed_tensor_is_noticed(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1000] ^= 1
    file.write_bytes(bytes(data))
    assert read_info(file).classes == 3
    with pytest.raises(DamagedFileError, match="not those that were written"):
        load(file)


def _edited(file: Path, change: Callable[[dict[str, str]], Any]) -> Path:
    """The same tensors with other metadata."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        metadata = dict(opened.metadata())
    change(metadata)
    save_file(load_file(file), file, metadata)
    return file


def _respec(**changes: Any) -> Callable[[dict[str, str]], Any]:
    def change(metadata: dict[str, str]) -> None:
        metadata["spec"] = json.dumps(json.loads(metadata["spec"]) | changes)

    return change


EDITS: dict[str, tuple[Callable[[dict[str, str]], Any], str]] = {
    "another version": (lambda m: m.update(version="2"), "weights of version '2'"),
    "no spec": (lambda m: m.pop("spec"), "broken metadata"),
    "a spec that is no JSON": (lambda m: m.update(spec="{"), "broken metadata"),
    "a spec of endless depth": (lambda m: m.update(spec="[" * 100_000), "nested too deeply"),
    "another network": (_respec(spp=24), r"aux\.2.*is \(24, 16, 3, 3\), rich in training form has \(24, 24, 3, 3\)"),
    "another activation": (_respec(act="sin"), "activation"),
    "an unknown form": (lambda m: m.update(form="fused"), "form 'fused'"),
    "another form": (lambda m: m.update(form="deploy"), "in deploy form has"),
    "too few names": (lambda m: m.update(class_names='["a"]'), "class names do not fit"),
    "names and classes of another count": (
        lambda m: m.update(class_names='["a"]', classes="1"), r"outputs.*is \(16,\), .* has \(12,\)"),
    "names that are numbers": (lambda m: m.update(class_names="[1, 2, 3]"), "class names do not fit"),
    "provenance that is a list": (lambda m: m.update(provenance="[]"), "broken metadata"),
    "another hash": (lambda m: m.update(sha256="0" * 64), "not those that were written"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), EDITS.values(), ids=EDITS.keys())
def test_edited_metadata_is_refused(file: Path, change: Callable[..., Any], message: str) -> None:
    with pytest.raises(DamagedFileError, match=message):
        load(_edited(file, change))


def test_other_safetensors_files_are_told_apart(tmp_path: Path, file: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    save_file({"model.0.conv.weight": torch.zeros(2, 3, 3, 3)}, foreign)
    assert is_weights(file)
    assert not is_weights(foreign)
    with pytest.raises(DamagedFileError, match=r"not one of edgeyolo's\n`edgeyolo import`"):
        load(foreign)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 a zip file, say a checkpoint",
        (2**63).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (4).to_bytes(8, "little") + b"\xff\xfe{}",
        (16).to_bytes(8, "little") + b'{"a": {"b": 12}}',
        (28).to_bytes(8, "little") + b'{"a": {"data_offsets": [0]}}',
        (25).to_bytes(8, "little") + b'{"__metadata__": {"a": 1}}'[:25],
        (20).to_bytes(8, "little") + b"[" * 20,
    ],
)
def test_other_formats_than_safetensors_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert not is_weights(path)
    for read in (read_info, load):
        with pytest.raises(DamagedFileError, match="safetensors"):
            read(path)


OFFSETS = ("[0, 1e400]", "[-1e400, 4]", "[NaN, NaN]", "[0]", "[]", "null", '"01"', "[0, true]", "[4, 0]", "[0, -1]",
           "[1e30, 1e31]", '["0", "4"]', "{}", "[[0], [4]]")  # fmt: skip


@pytest.mark.parametrize("offsets", OFFSETS)
def test_offsets_that_are_none_are_refused(file: Path, offsets: str) -> None:
    from edgeyolo.models.importer import import_checkpoint

    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    name = next(key for key in header if key != "__metadata__")
    known = json.dumps(header[name]["data_offsets"])
    text = json.dumps(header).replace(known, offsets, 1).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    for read in (load, read_info, import_checkpoint):
        with pytest.raises(DamagedFileError):
            read(file)


def test_a_tensor_of_another_type_is_refused(file: Path) -> None:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        metadata = dict(opened.metadata())
    save_file({key: value.bfloat16() for key, value in load_file(file).items()}, file, metadata)
    with pytest.raises(DamagedFileError, match="float32 or float16"):
        load(file)


def test_no_file_and_a_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_info(tmp_path / "nothing.safetensors")
    with pytest.raises(EdgeYoloError, match="cannot be read"):
        read_info(tmp_path)


def test_others_may_read_what_they_may_read_elsewhere(small_weights: Path) -> None:
    beside = small_weights.with_name("plain.txt")
    beside.write_text("")
    assert small_weights.stat().st_mode == beside.stat().st_mode


def test_equal_networks_are_equal_files(tmp_path: Path, file: Path) -> None:
    """safetensors puts metadata into another order each time; the file has one, and is read as before."""
    weights = load(file)
    for number in range(8):
        save(tmp_path / f"{number}.safetensors", weights.network, weights.class_names, weights.provenance)
    written = {(tmp_path / f"{number}.safetensors").read_bytes() for number in range(8)}
    assert len(written) == 1
    assert load(tmp_path / "0.safetensors").sha256 == weights.sha256
