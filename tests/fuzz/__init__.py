"""What comes from outside, as hostile as can be: properties that hold for any of it.

They are ordinary tests, so the suite tries each with some hundred inputs. `python -m tests.fuzz` (`make fuzz`) drives
the same tests for as long as you like with inputs that atheris bends towards code that no input has reached yet.
"""
