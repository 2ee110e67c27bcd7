"""Tracking: identities for detections, lines and zones that count them, and measures of how well it goes."""
