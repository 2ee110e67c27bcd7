"""Q/DQ placement and quantized graphs."""
