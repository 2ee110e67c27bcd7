"""The Detector, and how it opens artifacts, weights and files of other tools."""
