"""Waiting that gives its slot back."""
