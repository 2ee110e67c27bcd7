"""Training pictures: sources of batches, augmentation, anchors."""
