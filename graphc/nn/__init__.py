"""Functions of neural networks: activations and losses."""
