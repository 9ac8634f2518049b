from tests.unit.load.conftest import folder, institution, load

__all__ = ["folder", "institution", "load"]
