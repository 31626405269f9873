"""Safety: adverse events, DLT windows, cohort recommendations and outcomes, decided from sealed entries."""
