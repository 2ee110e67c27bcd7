"""Images, films, cameras and streams as frames, and detection in them."""

from __future__ import annotations

from edgeyolo.stream.frame import Counts, Event, Frame, Policy
from edgeyolo.stream.open_source import open_source
from edgeyolo.stream.source import Source
from edgeyolo.stream.terms import Reconnection

__all__ = ["Counts", "Event", "Frame", "Policy", "Reconnection", "Source", "open_source"]
