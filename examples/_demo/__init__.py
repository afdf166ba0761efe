"""The parts of ``demo.py``: receivers, workers, and what it reads from the journal."""
