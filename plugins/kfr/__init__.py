"""Load all customer relationships into Kundeforholdsregisteret (KFR), and keep them right."""

__version__ = "0.1.0"
