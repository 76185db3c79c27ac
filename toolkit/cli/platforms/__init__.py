"""Commands of one trading platform."""
