"""How long the store keeps what, and how what has expired goes without being in ingest's way."""
