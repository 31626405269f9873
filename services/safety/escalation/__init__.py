"""Dose escalation: what the trial's own rule recommends for a cohort; the committee decides."""
