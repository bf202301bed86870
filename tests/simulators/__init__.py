"""Real local servers that speak each provider's wire, can be told to misbehave, and keep a ledger."""
