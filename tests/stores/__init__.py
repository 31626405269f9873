"""The stores' promises, kept by SQLite files and PostgreSQL schemas alike."""
