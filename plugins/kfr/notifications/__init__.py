"""Whom to tell, and when: one alert for each change of state."""
