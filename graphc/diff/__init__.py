"""Derivatives: every function here takes expressions and returns ordinary expressions."""
