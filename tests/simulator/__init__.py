"""A stand-in for Kundeforholdsregisteret, Maskinporten and a mail server: one core, two fronts.

It is written from the contract alone and shares no code with the package but the protocol of a clock, so that it
finds the package's mistakes. `Simulator` is the core and the in-process front; `tests.simulator.http_front.HttpFront` is the one on loopback,
`python -m tests.simulator` the same in a process of its own.
"""

from tests.simulator.clock import VirtualClock
from tests.simulator.events import Event
from tests.simulator.faults import Fault, FaultKind
from tests.simulator.mailbox import Mail
from tests.simulator.simulator import Simulator
from tests.simulator.switches import Switches

__all__ = ["Event", "Fault", "FaultKind", "Mail", "Simulator", "Switches", "VirtualClock"]
