"""Memory, streams and graphs of a GPU, by cuda-python or PyCUDA."""
