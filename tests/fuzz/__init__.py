"""Hostile input: what comes from outside, in any form; run by hypothesis in the tests, by atheris in `make fuzz`."""
