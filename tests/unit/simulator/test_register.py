"""The register, folded from history on demand, is the one that a plain model reaches by doing one thing at a time."""

from dataclasses import dataclass, field
from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulator import Switches
from tests.simulator.clock import OSLO
from tests.unit.simulator.caller import ORGANISATIONS, Caller, make_simulator

DATES = (None, date(2001, 1, 1), date(2002, 2, 2))

customers = st.sampled_from(ORGANISATIONS)
rows = st.lists(st.tuples(customers, st.sampled_from(DATES)), min_size=1, max_size=5)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), rows),
        st.tuples(st.just("register"), customers),
        st.tuples(st.just("remove"), customers),
        st.tuples(st.just("wait"), st.sampled_from([1, 2, 3, 9, 50_000])),
    ),
    max_size=12,
)
switches = st.builds(
    Switches,
    removal=st.sampled_from(["ends_yesterday", "ends_today_inclusive", "ends_today_exclusive", "erases"]),
    re_registration=st.sampled_from(["revives", "new_start", "no_effect"]),
    second_file=st.sampled_from(["keeps_start", "changes_start"]),
    file_after_single=st.sampled_from(["keeps_start", "changes_start"]),
    duplicates=st.sampled_from(["first", "last"]),
    row_order=st.sampled_from(["file", "reversed"]),
)


@dataclass
class Model:
    """A register that does what is due every second: `held` has [start, end, file that set the start]."""

    switches: Switches
    held: dict[str, list] = field(default_factory=dict)
    queue: list[tuple[int, str, date | None]] = field(default_factory=list)
    files: int = 0

    def send(self, rows, _today):
        self.files += 1
        ordered = rows if self.switches.row_order == "file" else rows[::-1]
        self.queue += [(self.files, customer_id, start) for customer_id, start in ordered]

    def register(self, customer_id, today, file=0, start=None):
        current = self.held.get(customer_id)
        if current is None:
            self.held[customer_id] = [start or today, None, file]
        elif current[1] is None:
            if start is not None and self._moves(current, file):
                current[0], current[2] = start, file
        elif self.switches.re_registration == "revives":
            current[1], current[2] = None, file
        elif self.switches.re_registration == "new_start":
            self.held[customer_id] = [start or today, None, file]

    def _moves(self, current, file):
        if current[2] == 0:
            return self.switches.file_after_single == "changes_start"
        if current[2] == file:
            return self.switches.duplicates == "last"
        return self.switches.second_file == "changes_start"

    def remove(self, customer_id, today):
        current = self.held.get(customer_id)
        if current is None or current[1] is not None:
            return
        if self.switches.removal == "erases":
            del self.held[customer_id]
        else:
            current[1] = today - timedelta(days=self.switches.removal == "ends_yesterday")

    def load_one(self, today):
        if self.queue:
            file, customer_id, start = self.queue.pop(0)
            self.register(customer_id, today, file, start)


def today_of(simulator):
    return simulator.clock.now().astimezone(OSLO).date()


@settings(max_examples=150, deadline=None)
@given(switches, steps)
def test_the_state_is_that_of_a_model_that_does_one_thing_at_a_time(switches, steps):
    simulator = make_simulator(switches=switches)
    caller, model = Caller(simulator), Model(switches)
    for action, argument in steps:
        if action == "wait":
            for second in range(argument):
                if not model.queue:
                    simulator.clock.sleep(argument - second)
                    break
                simulator.clock.sleep(1)
                model.load_one(today_of(simulator))
            continue
        getattr(model, action)(argument, today_of(simulator))
        if action == "send":
            argument = ",".join(one if start is None else f"{one}#{start}" for one, start in argument)  # noqa: PLW2901
        getattr(caller, action)(argument)
        assert simulator.pending_rows == len(model.queue)
    expected = {int(one): (start, end) for one, (start, end, _) in model.held.items()}
    assert simulator.relationships() == expected
    for one in ORGANISATIONS:
        assert caller.finds(one, "2090-01-01") is (int(one) in expected and expected[int(one)][1] is None)
