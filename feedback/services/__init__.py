"""Writes of feedback: giving and changing it, judging it, links for people without an account."""
