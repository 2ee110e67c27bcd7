"""Whole checkpoints, as the published code and its training write them, become networks."""

from __future__ import annotations

import json
import pathlib
import sys
import time
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from edgeyolo.errors import (  # noqa: E402
    DamagedFileError,
    EdgeYoloError,
    ForeignFileError,
    UntrustedFileError,
    UsageError,
)
from edgeyolo.models import weights  # noqa: E402
from edgeyolo.models.checkpoint import open_checkpoint, read_contents  # noqa: E402
from edgeyolo.models.importer import import_checkpoint  # noqa: E402
from edgeyolo.models.published import recognise  # noqa: E402

Shapes = dict[str, tuple[int, ...]]
Factory = Callable[..., nn.Module]
BCCD = "data/checkpoints/yolov7-tiny-bccd-256"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[Factory]:
    """Throw-away classes under the names that published pickles refer to, and a model made of them.

    `published(shapes, names)` builds a module tree with random half-precision weights of these keys and shapes.
    """
    classes: dict[str, type[nn.Module]] = {}
    for module in ("models", "models.yolo", "models.common"):
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    listed = {
        "models.yolo": "Model Detect IDetect IAuxDetect",
        "models.common": "Conv RepConv SPPCSPC ImplicitA ImplicitM",
    }
    for module, names in listed.items():
        for name in names.split():
            classes[name] = type(name, (nn.Module,), {"__module__": module, "__qualname__": name})
            setattr(sys.modules[module], name, classes[name])
    yield lambda shapes, names, **options: build_model(classes, shapes, names, **options)


def build_model(
    classes: dict[str, type[nn.Module]],
    shapes: Shapes,
    names: list[str],
    *,
    act: nn.Module | None = None,
    seed: int = 0,
) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    root = classes["Model"]()
    for key, shape in shapes.items():
        kind = key.rpartition(".")[2]
        if kind == "num_batches_tracked":
            value = torch.tensor(7)
        elif kind in ("anchors", "anchor_grid"):
            value = torch.arange(2, 2 + int(np.prod(shape))).reshape(shape).half()
        else:
            value = (
                torch.rand(shape, generator=generator) * 0.02 + (0.5 if kind == "running_var" else 0)
            ).half()
        place(root, key, value, classes, act or nn.LeakyReLU(0.1, inplace=True))
    head = list(root.model.children())[-1]
    head.nc, head.stride = len(names), torch.tensor([8.0, 16.0, 32.0])
    root.names, root.nc, root.yaml = names, len(names), {"nc": len(names), "anchors": 3}
    return root


def place(
    root: nn.Module, key: str, value: Tensor, classes: dict[str, type[nn.Module]], act: nn.Module
) -> None:
    """Put one tensor where its key says, making the modules on the way."""
    *path, kind = key.split(".")
    module = root
    for depth, name in enumerate(path):
        if not hasattr(module, name):
            module.add_module(name, make_module(path[: depth + 1], kind, classes))
            if name == "conv":
                module.add_module("act", act)
        module = getattr(module, name)
    if kind in ("weight", "bias", "implicit"):
        module.register_parameter(kind, nn.Parameter(value))
    else:
        module.register_buffer(kind, value)
    if isinstance(module, nn.BatchNorm2d):
        module.eps = 1e-3


def make_module(path: list[str], kind: str, classes: dict[str, type[nn.Module]]) -> nn.Module:
    if path == ["model"] or path[-1].startswith("rbr"):
        return nn.Sequential()
    if path[-1] == "bn" or (len(path) > 2 and path[-2].startswith("rbr") and path[-1] == "1"):
        return nn.BatchNorm2d(1)
    if path[-1] in ("m", "m2", "ia", "im"):
        return nn.ModuleList()
    if kind == "implicit":
        return classes["ImplicitA" if path[-2] == "ia" else "ImplicitM"]()
    if len(path) == 2 and kind in ("anchors", "anchor_grid"):
        return classes["Detect"]()
    return (
        nn.Conv2d(1, 1, 1, bias=False) if path[-1] == "conv" or path[-2] in ("m", "m2") else classes["Conv"]()
    )


@pytest.fixture
def tiny(published_shapes: Callable[[str, str], Shapes]) -> Callable[[str, int], Shapes]:
    """`tiny(form, classes)`: the keys and shapes of a published yolov7-tiny."""

    def shapes(form: str, classes: int) -> Shapes:
        of_outputs = {255: 3 * (5 + classes)}
        return {
            key: tuple(of_outputs.get(size, size) if key.startswith("model.77.") else size for size in shape)
            for key, shape in published_shapes("yolov7-tiny", form).items()
        }

    return shapes


def unload(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the throw-away classes: the import must not need them."""
    for module in ("models", "models.yolo", "models.common"):
        monkeypatch.delitem(sys.modules, module)


def first_weight(network: nn.Module) -> Tensor:
    return next(iter(network.state_dict().values()))


def test_the_real_checkpoint(shared: Path) -> None:
    """A yolov7-tiny trained by the published code: its own raw maps come out, and quickly."""
    start = time.process_time()
    imported = import_checkpoint(shared / f"{BCCD}.pt")
    assert time.process_time() - start < 2.0
    network = imported.network
    assert (network.spec.name, network.form, network.classes) == ("yolov7-tiny", "training", 3)
    assert imported.class_names == ("RBC", "WBC", "Platelets")
    assert network.anchors[2] == ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0))
    assert not network.training
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    golden = np.load(shared / f"{BCCD}.BloodImage_00007.npz")
    with torch.inference_mode():
        maps = network(torch.from_numpy(golden["input"]).float())
    for found, key in zip(maps, ("p3", "p4", "p5"), strict=True):
        expected = golden[key].transpose(0, 1, 4, 2, 3).reshape(found.shape)
        assert np.abs(found.numpy() - expected).max() <= 1e-5 * np.abs(expected).max()


def test_the_account_of_the_real_checkpoint(shared: Path) -> None:
    imported = import_checkpoint(shared / f"{BCCD}.pt")
    summary = json.loads(json.dumps(imported.summary()))
    assert summary["architecture"] == "yolov7-tiny"
    assert summary["parameters"] == imported.parameters == 6_020_400
    assert summary["provenance"]["dtype"] == "float16"
    assert summary["provenance"]["kind"] == "models.yolo.Model"
    assert (
        summary["provenance"]["sha256"] == "95106530b155e62c4c278880c6f0610bf60246f477557c9486ed0b8a31119bce"
    )
    assert summary["provenance"]["training"] == {"epoch": -1, "optimizer": False, "ema": False}
    assert str(shared) not in json.dumps(summary)
    text = "\n".join(imported.lines())
    assert "RBC, WBC, Platelets" in text
    assert "stride 8: anchors 10x13 16x30 33x23" in text


def test_our_own_file_keeps_the_account(shared: Path, tmp_path: Path) -> None:
    first = import_checkpoint(shared / f"{BCCD}.pt")
    weights.save(tmp_path / "own.safetensors", first.network, first.class_names, first.provenance, half=True)
    second = import_checkpoint(tmp_path / "own.safetensors")
    assert second.provenance == first.provenance
    assert second.class_names == first.class_names
    assert (second.origin.kind, second.origin.dtype) == ("edgeyolo weights", "float16")
    assert second.origin.sha256 != first.origin.sha256
    for key, value in first.network.state_dict().items():
        assert torch.equal(second.network.state_dict()[key], value), key  # the file was float16 to begin with


@pytest.mark.parametrize("form", ["training", "deploy"])
def test_a_checkpoint_in_either_form(
    form: str, published: Factory, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = published(tiny(form, 2), ["cat", "dog"])
    expected = model.state_dict()["model.0.conv.weight"].float()
    torch.save(
        {"epoch": -1, "model": model, "optimizer": None, "training_results": None}, tmp_path / "net.pt"
    )
    unload(monkeypatch)
    imported = import_checkpoint(tmp_path / "net.pt")
    network = imported.network
    assert (network.spec.name, network.form, network.classes) == ("yolov7-tiny", form, 2)
    assert imported.class_names == ("cat", "dog")
    assert torch.equal(first_weight(network), expected)
    assert imported.notes == ()


def test_a_checkpoint_in_the_middle_of_training(
    published: Factory, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Averaged weights, optimizer state, numpy numbers, paths, and storages that lay on a GPU."""
    model, averaged = (published(tiny("training", 2), ["cat", "dog"], seed=seed) for seed in (1, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    for parameter in list(model.parameters())[:4]:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
    whole = {
        "epoch": 41,
        "best_fitness": np.array([0.5]),
        "fitness": np.float64(0.25),
        "training_results": "41/299 4.5G 0.03\n",
        "model": model,
        "ema": averaged,
        "updates": 17,
        "optimizer": optimizer.state_dict(),
        "device": torch.device("cuda:0"),
        "dtype": torch.float16,
        "size": torch.Size([256, 256]),
        "save_dir": pathlib.PurePosixPath("runs/train/exp"),
        "wandb_id": None,
    }
    torch.save(whole, tmp_path / "last.pt")
    assert devices_in(tmp_path / "last.pt") == {"cuda:0"}
    unload(monkeypatch)
    imported = import_checkpoint(tmp_path / "last.pt")
    assert torch.equal(first_weight(imported.network), averaged.state_dict()["model.0.conv.weight"].float())
    assert first_weight(imported.network).device.type == "cpu"
    assert imported.origin.entry == "ema"
    assert imported.origin.training == {"epoch": 41, "updates": 17, "optimizer": True, "ema": True}
    assert "epoch 41, optimizer state left out" in "\n".join(imported.lines())


def devices_in(path: Path) -> set[str]:
    """The devices that the storages of a file are tagged with."""
    with open_checkpoint(path) as checkpoint:
        return {tensor.storage.device for tensor in read_contents(checkpoint).tensors.values()}


def test_the_activation_tells_the_two_tiny_networks_apart(
    published: Factory, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = published(tiny("deploy", 2), ["cat", "dog"], act=nn.SiLU(inplace=True))
    torch.save(model, tmp_path / "silu.pt")
    unload(monkeypatch)
    imported = import_checkpoint(tmp_path / "silu.pt")
    assert (imported.network.spec.name, imported.network.spec.act) == ("yolov7-tiny-silu", "silu")


@pytest.mark.parametrize("wrap", ["bare", "model", "state_dict", "safetensors", "data parallel"])
def test_state_dicts(wrap: str, published: Factory, tiny: Any, tmp_path: Path) -> None:
    state = published(tiny("training", 80), ["x"] * 80).state_dict()
    path = tmp_path / ("state.safetensors" if wrap == "safetensors" else "state.pth")
    if wrap == "safetensors":
        save_file(dict(state), path)
    elif wrap == "data parallel":
        torch.save({f"module.{key}": value for key, value in state.items()}, path)
    else:
        torch.save(state if wrap == "bare" else {wrap: state, "epoch": 3}, path)
    imported = import_checkpoint(path)
    assert torch.equal(first_weight(imported.network), state["model.0.conv.weight"].float())
    assert (imported.network.spec.name, imported.network.classes) == ("yolov7-tiny", 80)
    assert imported.class_names[:2] == ("class_0", "class_1")
    assert imported.origin.dtype == "float16"
    assert len(imported.notes) == 2
    assert "no class names" in imported.notes[0]
    assert "yolov7-tiny-silu" in imported.notes[1]


def fuse(model: nn.Module, head_too: bool) -> None:
    """Do to a model what the published code's `fuse()` does, and keep the bound methods it leaves behind."""

    def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        fused = nn.Conv2d(conv.weight.shape[1], conv.weight.shape[0], conv.weight.shape[2])
        fused.weight = nn.Parameter(conv.weight * gain.view(-1, 1, 1, 1))
        fused.bias = nn.Parameter(norm.bias - norm.running_mean * gain)
        return fused

    model.float()
    for module in list(model.modules()):
        if hasattr(module, "bn"):
            module.conv = fold(module.conv, module.bn)
            del module.bn
            module.forward = module.fuseforward
    head = list(model.model.children())[-1]
    if head_too:
        for output, offset, scale in zip(head.m, head.ia, head.im, strict=True):
            weight, gain = output.weight.detach().flatten(1), scale.implicit.detach().flatten()
            bias = (output.bias.detach() + weight @ offset.implicit.detach().flatten()) * gain
            output.weight = nn.Parameter(output.weight.detach() * gain.view(-1, 1, 1, 1))
            output.bias = nn.Parameter(bias)
        head.forward = head.fuseforward


# A state dict alone cannot say that `fuse()` left its outputs out, as the earliest version did.
@pytest.mark.parametrize(
    "fused",
    [
        ("model", True),
        ("model", False),
        ("data parallel", True),
        ("data parallel", False),
        ("state dict", True),
    ],
)
def test_a_fused_model(
    fused: tuple[str, bool], published: Factory, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever `fuse()` left in the file, the network computes what the training form does."""
    wrap, head_too = fused
    model = published(tiny("training", 2), ["cat", "dog"])

    def fuseforward(module: nn.Module, x: Tensor) -> Tensor:
        raise AssertionError("nothing of the file is called")

    for module in model.modules():
        type(module).fuseforward = fuseforward
    torch.save({"model": model}, tmp_path / "whole.pt")
    fuse(model, head_too)
    saved = {"model": model, "data parallel": nn.DataParallel(model), "state dict": model.state_dict()}
    torch.save({"model": saved[wrap]}, tmp_path / "fused.pt")
    unload(monkeypatch)
    imported = import_checkpoint(tmp_path / "fused.pt")
    assert (imported.network.spec.name, imported.network.form) == ("yolov7-tiny", "plain")
    assert "fused by the published code" in "\n".join(imported.notes)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = import_checkpoint(tmp_path / "whole.pt").network(images)
        for found, reference in zip(imported.network(images), expected, strict=True):
            assert torch.allclose(found, reference, rtol=1e-3, atol=1e-5 * float(reference.abs().max()))


def test_a_fused_network_with_auxiliary_outputs(
    published_shapes: Callable[[str, str], Shapes],
) -> None:
    """`fuse()` leaves implicit vectors and auxiliary outputs in the file; what counts is the rest."""
    shapes = published_shapes("yolov7-w6", "training")
    fused = {
        key.replace(".bn.bias", ".conv.bias"): torch.zeros(shape, device="meta")
        for key, shape in shapes.items()
        if ".bn." not in key or key.endswith(".bn.bias")
    }
    fused = {key: value for key, value in fused.items() if "anchor" not in key}
    found = recognise(fused)
    assert (found.spec.name, found.form) == ("yolov7-w6", "plain")
    assert len(found.network().aux_outputs) == 0


def test_state_dicts_of_neighbours(published: Factory, tiny: Any, tmp_path: Path) -> None:
    state = published(tiny("deploy", 2), ["cat", "dog"]).state_dict()
    torch.save(state | {"model.118.m_kpt.0.0.conv.weight": torch.zeros(2, 2)}, tmp_path / "pose.pt")
    with pytest.raises(ForeignFileError, match=r"pose\.pt: a state dict of YOLOv7-pose"):
        import_checkpoint(tmp_path / "pose.pt")


def test_bfloat16_weights(published: Factory, tiny: Any, tmp_path: Path) -> None:
    state = {key: value.bfloat16() for key, value in published(tiny("deploy", 1), ["x"]).state_dict().items()}
    torch.save(state, tmp_path / "state.pt")
    imported = import_checkpoint(tmp_path / "state.pt")
    assert torch.equal(first_weight(imported.network), state["model.0.conv.weight"].float())
    assert imported.origin.dtype == "bfloat16"


def test_class_names_that_do_not_fit(
    published: Factory, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = published(tiny("deploy", 2), ["cat", "dog"])
    model.names = ["cat", "dog", "bird"]
    torch.save({"model": model}, tmp_path / "net.pt")
    list(model.model.children())[-1].nc = 3
    torch.save({"model": model}, tmp_path / "contradicts.pt")
    unload(monkeypatch)
    imported = import_checkpoint(tmp_path / "net.pt")
    assert imported.class_names == ("class_0", "class_1")
    assert "3 class names for 2 classes" in imported.notes[0]
    with pytest.raises(DamagedFileError, match="it says 3 classes, but its outputs are made for 2"):
        import_checkpoint(tmp_path / "contradicts.pt")


def test_values_that_are_not_finite_are_noted(published: Factory, tiny: Any, tmp_path: Path) -> None:
    state = published(tiny("deploy", 2), ["cat", "dog"]).state_dict()
    state["model.3.bn.running_var"][5] = float("inf")
    torch.save(state, tmp_path / "state.pt")
    notes = import_checkpoint(tmp_path / "state.pt").notes
    assert "1 tensors hold values that are not finite; the first is model.3.bn.running_var" in notes


def test_networks_that_are_not_of_the_family(published: Factory, tiny: Any, tmp_path: Path) -> None:
    state = published(tiny("deploy", 2), ["cat", "dog"]).state_dict()
    del state["model.5.conv.weight"]
    torch.save(state, tmp_path / "pruned.pt")
    with pytest.raises(
        EdgeYoloError, match=r"pruned\.pt: not a network of the family: nearest is yolov7-tiny"
    ) as caught:
        import_checkpoint(tmp_path / "pruned.pt")
    assert "edgeyolo models" in caught.value.hint
    torch.save({"conv1.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "resnet.pt")
    with pytest.raises(EdgeYoloError, match=r"resnet\.pt"):
        import_checkpoint(tmp_path / "resnet.pt")


def test_shapes_that_no_network_has(tmp_path: Path) -> None:
    for name, shape in (
        ("model.7.m.0.weight", ()),
        ("model.7.m.0.weight", (0,)),
        ("model.7.anchors", ()),
        ("", (3,)),
    ):
        torch.save({name: torch.zeros(shape), "other.0.weight": torch.zeros(2)}, tmp_path / "odd.pt")
        with pytest.raises(EdgeYoloError, match=r"odd\.pt"):
            import_checkpoint(tmp_path / "odd.pt")


def test_damaged_safetensors(published: Factory, tiny: Any, shared: Path, tmp_path: Path) -> None:
    save_file(dict(published(tiny("deploy", 2), ["a", "b"]).state_dict()), tmp_path / "plain.safetensors")
    own = import_checkpoint(shared / f"{BCCD}.pt")
    weights.save(tmp_path / "own.safetensors", own.network, own.class_names, own.provenance)
    for path in (tmp_path / "plain.safetensors", tmp_path / "own.safetensors"):
        whole = path.read_bytes()
        for length in (9, 100, 5_000, len(whole) - 1):
            path.write_bytes(whole[:length])
            with pytest.raises(DamagedFileError, match=path.name):
                import_checkpoint(path)


def test_hostile_files_come_out_as_they_are(tmp_path: Path) -> None:
    class Exploit:
        def __reduce__(self) -> Any:
            return pathlib.Path.touch, (tmp_path / "marker",)

    torch.save({"model": Exploit()}, tmp_path / "hostile.pt")
    with pytest.raises(UntrustedFileError, match="getattr") as caught:
        import_checkpoint(tmp_path / "hostile.pt")
    assert caught.value.exit_code == 6
    assert not (tmp_path / "marker").exists()
    torch.load(tmp_path / "hostile.pt", weights_only=False)
    assert (tmp_path / "marker").exists()


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        import_checkpoint(tmp_path / "none.pt")


@pytest.mark.slow
@pytest.mark.parametrize(
    "which",
    [("yolov7", "deploy"), ("yolov7x", "training"), ("yolov7-w6", "training"), ("yolov7-e6e", "deploy")],
)
def test_larger_networks(
    which: tuple[str, str], published: Factory, published_shapes: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """RepConv, the csp pyramid, four levels and auxiliary outputs, each as a whole pickled model."""
    class_names = [f"name {index}" for index in range(80)]
    model = published(published_shapes(*which), class_names, act=nn.SiLU())
    torch.save({"model": model}, tmp_path / "net.pt")
    unload(monkeypatch)
    start = time.process_time()
    imported = import_checkpoint(tmp_path / "net.pt")
    assert time.process_time() - start < 20.0
    assert (imported.network.spec.name, imported.network.form) == which
    assert imported.class_names == tuple(class_names)
    assert torch.equal(first_weight(imported.network), next(iter(model.state_dict().values())).float())


@pytest.mark.slow
@pytest.mark.parametrize("checksums", ["stale", "right"])
def test_random_damage_to_a_whole_checkpoint(checksums: str, shared: Path, tmp_path: Path) -> None:
    """Changed bytes in a real file or in its pickle: a network, or one of our own errors, within seconds."""
    rng, source, path = np.random.default_rng(0), shared / f"{BCCD}.pt", tmp_path / "damaged.pt"
    with zipfile.ZipFile(source) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    pickle_name = next(name for name in entries if name.endswith("/data.pkl"))
    whole = source.read_bytes() if checksums == "stale" else entries[pickle_name]
    outcomes = set()
    for _ in range(60):
        data = bytearray(whole)
        for at in rng.integers(0, len(whole), 3):
            data[at] = int(rng.integers(256))
        if checksums == "stale":
            path.write_bytes(data)
        else:
            with zipfile.ZipFile(path, "w") as archive:
                for name, content in (entries | {pickle_name: bytes(data)}).items():
                    archive.writestr(name, content)
        start = time.process_time()
        try:
            assert import_checkpoint(path).class_names
            outcomes.add("network")
        except EdgeYoloError as error:
            assert path.name in str(error)
            outcomes.add(type(error).__name__)
        assert time.process_time() - start < 5.0
    assert "DamagedFileError" in outcomes
