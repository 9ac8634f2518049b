"""Speed and memory of the heavy steps, measured against a floor in the same run."""
