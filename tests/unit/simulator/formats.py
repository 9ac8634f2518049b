"""What schemathesis draws for the formats of the register's description: by itself it knows no check digits."""

import random

import schemathesis
from hypothesis import strategies as st

from tests.simulator.identifiers import make_synthetic, text_of
from tests.unit.simulator.caller import ORGANISATIONS

PERSONS = [text_of(make_synthetic(random.Random(seed))) for seed in range(20)]
CUSTOMERS = st.sampled_from([*ORGANISATIONS, *PERSONS])
ENTRIES = CUSTOMERS | st.builds("{}#{}".format, CUSTOMERS, st.dates())

schemathesis.openapi.format("customer", CUSTOMERS)
schemathesis.openapi.format("batch-file", st.lists(ENTRIES, min_size=1, max_size=50).map(",".join))
