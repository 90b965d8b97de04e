"""Functions composed of operations, and Python's operators on expressions."""
