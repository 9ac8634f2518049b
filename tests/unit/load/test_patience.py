import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from kfr.load.patience import LONGEST_PAUSE_SECONDS, TRIES, apersist, persist
from kfr.register.errors import Fatal, InvalidIdentifier, KfrError, OutcomeUnknown, Retriable
from tests.simulator import VirtualClock


class Register:
    """Raises one error after the other, then answers."""

    def __init__(self, *errors: KfrError) -> None:
        self.errors: Iterator[KfrError] = iter(errors)
        self.calls = 0

    def call(self) -> str:
        self.calls += 1
        for error in self.errors:
            raise error
        return "answer"

    async def acall(self) -> str:
        return self.call()


def in_worker(clock: VirtualClock, register: Register) -> Any:
    return persist(clock, register.call)


def in_trigger(clock: VirtualClock, register: Register) -> Any:
    return asyncio.run(apersist(clock, register.acall))


@pytest.fixture(params=[in_worker, in_trigger])
def ask(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_a_passing_fault_is_waited_out_with_pauses_that_double(ask):
    clock, register = VirtualClock(), Register(*[Retriable("busy")] * (TRIES - 1))
    assert ask(clock, register) == "answer"
    assert clock.monotonic() == 1 + 2 + 4 + 8 + 16


def test_an_unknown_outcome_is_asked_again_too(ask):
    assert ask(VirtualClock(), Register(OutcomeUnknown("no answer"))) == "answer"


def test_patience_ends_with_the_last_error(ask):
    register = Register(*[Retriable(f"{n}") for n in range(TRIES + 3)])
    with pytest.raises(Retriable, match=f"{TRIES - 1}"):
        ask(VirtualClock(), register)
    assert register.calls == TRIES


def test_retry_after_is_obeyed(ask):
    clock = VirtualClock()
    ask(clock, Register(Retriable("slow down", retry_after=LONGEST_PAUSE_SECONDS)))
    assert clock.monotonic() == LONGEST_PAUSE_SECONDS


def test_a_long_retry_after_is_left_to_the_scheduler(ask):
    clock, register = VirtualClock(), Register(Retriable("later", retry_after=LONGEST_PAUSE_SECONDS + 1))
    with pytest.raises(Retriable) as caught:
        ask(clock, register)
    assert caught.value.retry_after == LONGEST_PAUSE_SECONDS + 1
    assert (clock.monotonic(), register.calls) == (0.0, 1)


@pytest.mark.parametrize("error", [Fatal("access"), InvalidIdentifier("no")])
def test_what_another_try_does_not_cure_is_raised_at_once(ask, error):
    register = Register(error)
    with pytest.raises(type(error)):
        ask(VirtualClock(), register)
    assert register.calls == 1
