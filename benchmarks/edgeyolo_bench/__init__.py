"""The harness behind `edgeyolo bench`.

Scenarios, statistics, device facts, comparison, remote devices.

It runs in the base install, without torch: a device that is measured need not hold what exports. The way of a call:

jobs          artifacts as they are, weights exported for each target
measure       loads each in a process of its own (worker, subject), lets it settle (steady) and takes turns (stopwatch)
summary       samples to figures with intervals (statistics), and why some may not be quoted
facts         what the machine is, and what else it did meanwhile
report        the Report (measurement, device, plain): the one value that everything else reads
deliver       beside a baseline (baseline), as a table (table) and as files
remote        the same on other devices, over ssh
"""
