"""The paper's tables, and runs in their protocol."""
