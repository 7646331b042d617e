"""The parts of a search: candidates, the pool of them, one file for each part of the score."""
