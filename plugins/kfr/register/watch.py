"""Who looks on at each call to the outside: told which call it is before, and how it ended after."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Ended = Callable[[str], None]  # takes an HTTP status, or the class of the error when no answer came
Watch = Callable[[str, str | None], AbstractContextManager[Ended]]  # takes operation and CorrelationID


@contextmanager
def unwatched(operation: str, correlation_id: str | None) -> Iterator[Ended]:
    """Look away."""
    del operation, correlation_id
    yield lambda _: None
