"""Progress lines and pages of a training."""
