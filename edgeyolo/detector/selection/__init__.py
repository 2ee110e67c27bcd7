"""Device auto: the target that weights run on, what was measured and what decided."""
