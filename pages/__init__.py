"""One thin script per question a person asks."""
