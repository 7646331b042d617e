"""Activation memory: memories as KV caches that are computed once and shared."""
