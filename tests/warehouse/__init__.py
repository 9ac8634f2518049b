"""A synthetic warehouse, as messy as a real one, with the truth beside it. Shares no code with the package."""
