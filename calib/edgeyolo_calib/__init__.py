"""INT8 calibration.

It covers images, ranges, the places of quantizers and their cost.

Its parts are imported where they are needed: this package is on the way of `edgeyolo --help`.
"""
