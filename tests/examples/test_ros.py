"""The ROS 2 node, on messages of `rosbags`: read from a bag, answered, written to a bag and read back."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeyolo import Detector
from edgeyolo.datasets.scenes import make_scene

rosbag2 = pytest.importorskip("rosbags.rosbag2", reason="needs rosbags")
typesys = pytest.importorskip("rosbags.typesys")

PROGRAM = Path(__file__).parents[2] / "examples/ros_node.py"

# Fields of vision_msgs 4 (Humble, Jazzy, Kilted), as far as detections in two dimensions need them.
DEFINITIONS = {
    "Point2D": "float64 x\nfloat64 y",
    "Pose2D": "vision_msgs/Point2D position\nfloat64 theta",
    "BoundingBox2D": "vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y",
    "ObjectHypothesis": "string class_id\nfloat64 score",
    "ObjectHypothesisWithPose": (
        "vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose"
    ),
    "Detection2D": (
        "std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n"
        "vision_msgs/BoundingBox2D bbox\nstring id"
    ),
    "Detection2DArray": "std_msgs/Header header\nvision_msgs/Detection2D[] detections",
}
ARRAY = "vision_msgs/msg/Detection2DArray"


@pytest.fixture(scope="module")
def node() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ros_node", PROGRAM)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def store() -> Any:
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    for name, text in DEFINITIONS.items():
        store.register(typesys.get_types_from_msg(text, f"vision_msgs/msg/{name}"))
    return store


@pytest.fixture(scope="module")
def kinds(node: ModuleType, store: Any) -> dict[str, Any]:
    return {
        name: store.types[f"{package}/msg/{name}"] for package, names in node.KINDS.items() for name in names
    }


def picture_message(store: Any, seed: int, encoding: str = "bgr8", spare: int = 0) -> Any:
    """Picture of a scene, taken `seed` seconds after the start, with `spare` bytes after each row."""
    image = make_scene(seed, (240, 320)).image
    if encoding == "rgb8":
        image = image[..., ::-1]
    rows = np.pad(image.reshape(240, 960), ((0, 0), (0, spare)))
    stamp = store.types["builtin_interfaces/msg/Time"](sec=seed, nanosec=5)
    header = store.types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")
    return store.types["sensor_msgs/msg/Image"](
        header=header, height=240, width=320, encoding=encoding, is_bigendian=0, step=960 + spare,
        data=rows.reshape(-1).astype(np.uint8),
    )  # fmt: skip


def write_bag(path: Path, store: Any, topic: str, kind: str, messages: list[Any]) -> None:
    with rosbag2.Writer(path, version=9) as bag:
        connection = bag.add_connection(topic, kind, typestore=store)
        for message in messages:
            stamp = message.header.stamp
            bag.write(connection, stamp.sec * 10**9 + stamp.nanosec, store.serialize_cdr(message, kind))


def read_bag(path: Path, store: Any) -> list[Any]:
    with rosbag2.Reader(path) as bag:
        return [store.deserialize_cdr(data, connection.msgtype) for connection, _, data in bag.messages()]


def test_a_bag_of_images_becomes_a_bag_of_detections(
    node: ModuleType, store: Any, kinds: dict[str, Any], small_artifact: Path, tmp_path: Path
) -> None:
    given = [picture_message(store, seed) for seed in range(3)]
    write_bag(tmp_path / "camera", store, "/image", "sensor_msgs/msg/Image", given)
    with Detector(small_artifact, conf=0.05) as detector:
        answers = [
            node.to_message(detector(node.to_array(message)), message.header, kinds)
            for message in read_bag(tmp_path / "camera", store)
        ]
        expected = [detector(make_scene(seed, (240, 320)).image) for seed in range(3)]
    write_bag(tmp_path / "found", store, "/detections", ARRAY, answers)
    found = read_bag(tmp_path / "found", store)
    assert [message.header.stamp.sec for message in found] == [0, 1, 2]
    assert [message.header.frame_id for message in found] == ["camera"] * 3
    assert sum(map(len, expected)) > 0
    for message, detections in zip(found, expected, strict=True):
        assert len(message.detections) == len(detections)
        for one, each in zip(message.detections, detections, strict=True):
            (result,) = one.results
            assert (result.hypothesis.class_id, result.hypothesis.score) == (each.name, each.confidence)
            middle, box = one.bbox.center.position, each.box
            corners = (
                middle.x - one.bbox.size_x / 2, middle.y - one.bbox.size_y / 2,
                middle.x + one.bbox.size_x / 2, middle.y + one.bbox.size_y / 2,
            )  # fmt: skip
            assert corners == pytest.approx(box)


def test_encodings_and_rows_with_spare_bytes(node: ModuleType, store: Any) -> None:
    expected = make_scene(1, (240, 320)).image
    for encoding, spare in (("bgr8", 0), ("bgr8", 16), ("rgb8", 8)):
        pixels = node.to_array(picture_message(store, 1, encoding, spare))
        np.testing.assert_array_equal(pixels, expected)
    with pytest.raises(ValueError, match="16UC1"):
        node.to_array(SimpleNamespace(encoding="16UC1"))


def test_without_ros_it_says_so() -> None:
    if importlib.util.find_spec("rclpy"):
        pytest.skip("ROS is installed")
    done = subprocess.run([sys.executable, str(PROGRAM)], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "rclpy" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_node_answers_each_image(
    node: ModuleType,
    store: Any,
    kinds: dict[str, Any],
    small_artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published: list[Any] = []
    subscribed: list[Callable[[Any], None]] = []
    values = {"model": str(small_artifact), "conf": 0.05}
    ros_node = SimpleNamespace(
        declare_parameter=lambda name, default: SimpleNamespace(value=values.get(name, default)),
        create_publisher=lambda kind, topic, depth: SimpleNamespace(publish=published.append),
        create_subscription=lambda kind, topic, callback, quality: subscribed.append(callback),
        destroy_node=lambda: None,
    )
    policies = SimpleNamespace(
        QoSProfile=lambda **choices: choices,
        HistoryPolicy=SimpleNamespace(KEEP_LAST=1),
        ReliabilityPolicy=SimpleNamespace(BEST_EFFORT=2),
    )
    rclpy = SimpleNamespace(
        init=lambda: None, create_node=lambda name: ros_node, qos=policies,
        spin=lambda _: [subscribed[0](picture_message(store, seed)) for seed in range(2)],
    )  # fmt: skip
    images = SimpleNamespace(Image=store.types["sensor_msgs/msg/Image"])
    modules = {"rclpy": rclpy, "rclpy.qos": policies, "sensor_msgs.msg": images}
    for package in node.KINDS:
        modules[f"{package}.msg"] = SimpleNamespace(**kinds)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)  # type: ignore[arg-type]
    node.main()
    assert [type(message).__name__ for message in published] == [kinds["Detection2DArray"].__name__] * 2
    assert sum(len(message.detections) for message in published) > 0
