"""The YOLOv7 family.

Described as data, built as networks, folded to plain convolutions.

`specs`, `topology`, `scaling`, `paper` and `weights.read_info` need no torch; everything else here does, so
import the module you need.

specs         the eight networks as frozen dataclasses          scaling        compound scaling, spec to spec
paper         what the paper reports about them                  reparameterize network -> plain convolutions
network       spec -> torch network, in one of three forms       complexity     parameters and GFLOPs
published     published state dict -> spec, form, weights        weights        our own file (safetensors)
"""
