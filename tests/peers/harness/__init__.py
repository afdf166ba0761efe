"""Starts the real programs that fiveobs talks to, and reads what they received."""
