"""Telling other programs of feedback: written with the fact, sent later, signed, repeated until it is taken."""
