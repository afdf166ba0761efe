"""State that the parts of a system agree on: what is observed, what is desired, and its version."""
