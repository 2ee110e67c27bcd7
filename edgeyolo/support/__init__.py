"""Files, locks, JSON of dataclasses and facts of the machine.

Nothing of YOLO is in here.
"""
