"""Where the monitor keeps what it knows: SQLite by default, PostgreSQL by ``FIVEOBS_STORE_URL``."""
