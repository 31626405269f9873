"""Strangers check us: implementations that were not written here read what we write, and we read theirs."""
