"""What every service speaks; imports nothing from services/."""
