"""Building an engine on the device, and the cache of engines built."""
