"""What porting to another language takes: `port_check.py`, to be copied, and `artifact.md`."""
