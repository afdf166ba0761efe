"""The five tracks, each in a module of the same four parts: purpose, settings, track, helpers."""
