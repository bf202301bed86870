"""Budgets: spend is reserved before a call and settled after it."""
