"""The reading side: replay and explanations, built from the log alone."""
