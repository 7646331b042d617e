"""Evaluation: is what answers a question found, how far in front, at what price."""
