"""Evidence bundles: a log, or a part of it, in one zip that anyone checks offline without our programs."""
