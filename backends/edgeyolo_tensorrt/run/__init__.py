"""Running an engine, or its stand-in where there is no GPU."""
