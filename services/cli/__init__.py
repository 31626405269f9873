"""The command ``trail``, and the embedded stack behind it."""
