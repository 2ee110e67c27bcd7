"""Tracking: identities for detections, counting lines, zones, and measures."""

from edgeyolo.tracking.lines import LineCounter
from edgeyolo.tracking.rules import TrackerRules
from edgeyolo.tracking.tracker import Tracker
from edgeyolo.tracking.tracks import Track, Tracks
from edgeyolo.tracking.zones import Visit, Zone

__all__ = ["LineCounter", "Track", "Tracker", "TrackerRules", "Tracks", "Visit", "Zone"]
