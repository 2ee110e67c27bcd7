"""Parsing of the graph by TensorRT.

Its complaints get the names of the nodes.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgeyolo.errors import UnsupportedTargetError
from edgeyolo_tensorrt.library import Library


def parse_graph(library: Library, network: Any, logger: Any, path: Path) -> None:
    """Fill `network` from the ONNX file.

    Raises:
        UnsupportedTargetError: with every error of the parser and the node it is about.
    """
    parser = library.module.OnnxParser(network, logger)
    if parser.parse_from_file(str(path)):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    lines = [f"  {_node(error, path)}: {error.desc()} ({_code(error)})" for error in errors]
    raise UnsupportedTargetError(
        f"TensorRT {library.text} does not take {path}:\n" + ("\n".join(lines) or "  (it gave no reason)"),
        hint="A newer TensorRT may know these operators. Nothing was built.",
    )


def _code(error: Any) -> str:
    code = error.code()
    return str(getattr(code, "name", code))


def _node(error: Any, path: Path) -> str:
    """The node's name and operator.

    TensorRT 10 tells both, 8 only the position in the file.
    """
    if hasattr(error, "node_name") and error.node_name():
        return f"{error.node_name()} [{error.node_operator()}]"
    position = error.node()
    if position < 0:
        return "the file"
    if find_spec("onnx") is None:  # devices need not have it
        return f"node {position}"
    import onnx

    nodes = onnx.load(str(path), load_external_data=False).graph.node
    return (
        f"{nodes[position].name} [{nodes[position].op_type}]" if position < len(nodes) else f"node {position}"
    )
