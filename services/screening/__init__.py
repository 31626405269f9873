"""Screening: every criterion of the trial judged, places given, deviations raised."""
