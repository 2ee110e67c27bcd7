"""Other devices: one over ssh, or a fleet of them."""
