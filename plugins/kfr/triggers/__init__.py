"""Waiting for the register without a worker."""
