"""INT8 calibration.

Which images, which ranges, where the quantizers stand, and what they cost.

Its parts are imported where they are needed: this package is on the way of `edgeyolo --help`.
"""
