"""A ROS 2 node: `sensor_msgs/Image` in, `vision_msgs/Detection2DArray` out.

    source /opt/ros/jazzy/setup.bash
    python examples/ros_node.py --ros-args -p model:=my-artifact -p conf:=0.4 -r image:=/camera/image_raw

Only the newest image waits while the network is busy. A message carries its image's header, so that whoever has
transforms can place the boxes. Needs `rclpy` and `vision_msgs` 4, which come with ROS (apt: ros-jazzy-vision-msgs).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo import Detections, Detector

KINDS = {
    "vision_msgs": (
        "Detection2DArray", "Detection2D", "ObjectHypothesisWithPose", "ObjectHypothesis", "BoundingBox2D", "Pose2D",
        "Point2D",
    ),
    "geometry_msgs": ("PoseWithCovariance", "Pose", "Point", "Quaternion"),
}  # fmt: skip
ORDERS = {"bgr8": (0, 1, 2), "rgb8": (2, 1, 0), "bgra8": (0, 1, 2), "rgba8": (2, 1, 0), "mono8": (0, 0, 0)}


def to_array(message: Any) -> NDArray[np.uint8]:
    """Pixels (height, width, 3) BGR of a `sensor_msgs/Image`."""
    if message.encoding not in ORDERS:
        raise ValueError(f"encoding {message.encoding!r}: expected one of {', '.join(ORDERS)}")
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    channels = {"mono8": 1, "bgra8": 4, "rgba8": 4}.get(message.encoding, 3)
    pixels = rows[:, : message.width * channels].reshape(message.height, message.width, channels)
    return np.ascontiguousarray(pixels[..., ORDERS[message.encoding]])


def to_message(found: Detections, header: Any, kinds: Mapping[str, Any]) -> Any:
    """A `vision_msgs/Detection2DArray`; `kinds` are the classes of messages by name."""
    point = kinds["Point"](x=0.0, y=0.0, z=0.0)
    nowhere = kinds["PoseWithCovariance"](
        pose=kinds["Pose"](position=point, orientation=kinds["Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0)),
        covariance=np.zeros(36),
    )  # of two dimensions only: no pose is known
    messages = []
    for each in found:
        x1, y1, x2, y2 = each.box
        middle = kinds["Point2D"](x=(x1 + x2) / 2, y=(y1 + y2) / 2)
        hypothesis = kinds["ObjectHypothesis"](class_id=each.name, score=each.confidence)
        messages.append(
            kinds["Detection2D"](
                header=header,
                results=[kinds["ObjectHypothesisWithPose"](hypothesis=hypothesis, pose=nowhere)],
                bbox=kinds["BoundingBox2D"](
                    center=kinds["Pose2D"](position=middle, theta=0.0), size_x=x2 - x1, size_y=y2 - y1
                ),
                id="",
            )
        )
    return kinds["Detection2DArray"](header=header, detections=messages)


def main() -> None:
    """Detect in every image of the topic `image` and publish on `detections`, until ROS ends."""
    try:
        from importlib import import_module

        import rclpy
        from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

        image = import_module("sensor_msgs.msg").Image
        kinds = {
            name: getattr(import_module(f"{package}.msg"), name)
            for package, names in KINDS.items()
            for name in names
        }
    except ImportError as error:
        print(f"This program runs under ROS 2: {error}. See its first lines.", file=sys.stderr)
        raise SystemExit(3) from None
    rclpy.init()
    node = rclpy.create_node("edgeyolo")
    model = node.declare_parameter("model", "").value
    detector = Detector(*[model] if model else [], conf=node.declare_parameter("conf", 0.25).value)
    publisher = node.create_publisher(kinds["Detection2DArray"], "detections", 10)

    def answer(message: Any) -> None:
        publisher.publish(to_message(detector(to_array(message)), message.header, kinds))

    newest = QoSProfile(depth=1, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT)
    node.create_subscription(image, "image", answer, newest)
    try:
        rclpy.spin(node)
    except KeyboardInterrupt:
        pass
    finally:
        detector.close()
        node.destroy_node()


if __name__ == "__main__":
    main()
