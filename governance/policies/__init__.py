"""Policies: a document is read and checked, its conditions are parsed, compiled and asked; a draft is replayed."""
