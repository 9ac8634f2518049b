"""The numbers that the outside systems set, each with its unit and source, and the pace of requests."""

from typing import Final

from kfr.clock import Clock

REGISTER_ROWS_PER_SECOND: Final = 250  # what the register loads from files, about (ONB D-3)
NOTICE_ROWS_PER_DAY: Final = 100_000  # more than this in one day: tell Bits first (ONB D-3)

REQUESTS_PER_SECOND: Final = 20  # ours; nothing is documented, and a look-up sample takes minutes, not hours
SAMPLE_SIZE: Final = 2_995  # no miss in so many: under 0.1 % is wrong, at 95 % confidence

ASSERTION_SECONDS: Final = 100  # exp - iat; at most 120 (DIG), and their clock may differ by 10
TOKEN_LEEWAY_SECONDS: Final = 10  # a token is renewed so long before it expires (DIG: 5 to 10)
TOKEN_SECONDS: Final = 120  # how long a token lasts when the answer does not say (DIG)
LONGEST_TOKEN_SECONDS: Final = 3_600  # ours: whatever an answer says, a token is fetched anew by then

LONGEST_RETRY_AFTER_SECONDS: Final = 7 * 86_400  # ours: who is told to wait for longer asks again by then

CONNECT_TIMEOUT_SECONDS: Final = 10.0
POOL_TIMEOUT_SECONDS: Final = 10.0
WRITE_TIMEOUT_SECONDS: Final = 60.0  # between two pieces of a file, not for all of it
CATCH_UP_SECONDS: Final = 0.02  # of each second, for turns that came late; a scheduler's tick is 4 ms
READ_TIMEOUT_SECONDS: Final = 60.0  # the register checks every row of a file before it answers


class Pace:
    """Spaces requests evenly: a burst after a pause would exceed the rate in its first second.

    A turn that is missed by a little (a slow answer, a busy machine) is made up for, by at most CATCH_UP_SECONDS;
    all else that is not used is lost. The pace is slower by as much, so that no second sees more than the rate.
    """

    def __init__(self, per_second: float, clock: Clock) -> None:
        self._gap = (1 + CATCH_UP_SECONDS) / per_second
        self._clock = clock
        self._next = float("-inf")

    def wait(self) -> None:
        """Wait for this request's turn, in a worker."""
        if seconds := self._take_turn():
            self._clock.sleep(seconds)

    async def await_turn(self) -> None:
        """Wait for this request's turn, in a trigger."""
        if seconds := self._take_turn():
            await self._clock.asleep(seconds)

    def _take_turn(self) -> float:
        now = self._clock.monotonic()
        turn = max(now - CATCH_UP_SECONDS, self._next)
        self._next = turn + self._gap
        return max(0.0, turn - now)
