"""The harness behind `edgeyolo bench`: scenarios, statistics, device facts, comparison, remote devices.

It runs in the base install, without torch: a device that is measured need not hold what exports.
"""
