"""The Intel Neural Compute Stick: made here, checked against the last OpenVINO that drives it, run on its own hosts."""
