"""Changes to a plain network that its integers gain by."""
