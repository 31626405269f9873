"""Grading: what a measurement or an assessment comes to on a published scale, proposed with its arithmetic."""
