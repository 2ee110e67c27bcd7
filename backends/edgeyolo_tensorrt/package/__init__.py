"""The package that is exported: ONNX for TensorRT and how to build it."""
