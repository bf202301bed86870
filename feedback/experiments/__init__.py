"""Experiments: choosing a variant for each conversation, and what comes of it."""
