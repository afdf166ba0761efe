"""Answers of the tracking API: rows of the store in, the published shapes out. No I/O."""
