"""The Intel Neural Compute Stick.

Made here, checked against the last OpenVINO that drives it, run on its own hosts.
"""
