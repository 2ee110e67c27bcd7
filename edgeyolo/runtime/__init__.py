"""Inference from pixels to Detections: images, letterbox, decoding, suppression.

No torch.
"""
