"""Files, locks, JSON of dataclasses and facts of the machine; nothing of YOLO is in here."""
