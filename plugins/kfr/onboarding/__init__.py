"""The way in: the onboarding guide's tasks, the institution's file, and what Bits is sent before the first load."""
