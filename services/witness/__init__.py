"""A witness: another organisation's memory of the log, which cosigns only what continues what it has seen."""
