"""Alerts: conditions that somebody should hear of once, how that is told, and who said that they know."""
