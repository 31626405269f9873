"""The services of Trialtrail, each in a room of its own."""
