"""Connections: to the register and to the warehouse."""
