"""A year, day by day from one seed: what changes in the warehouse, what people run, what goes wrong."""

import random
from collections.abc import Callable
from datetime import date, time, timedelta
from pathlib import Path

from tests.faults import draws
from tests.faults.year import Year

CHANGES: tuple[tuple[float, Callable[[Year], None]], ...] = (  # chance a day, and what happens then
    (0.60, lambda y: y.arrive()),
    (0.25, lambda y: y.arrive(days_ago=y.random.randrange(1, 400))),
    (0.10, lambda y: y.arrive(days_ago=-y.random.randrange(1, 20))),
    (0.50, lambda y: y.leave()),
    (0.15, lambda y: y.leave(days_ago=y.random.randrange(1, 30))),
    (0.20, lambda y: y.come_back()),
    (0.20, lambda y: y.open_another()),
    (0.15, lambda y: y.move_start(y.random.randrange(-300, 30))),
    (0.05, lambda y: y.change_number()),
    (0.02, lambda y: y.vanish()),
    (0.05, lambda y: y.ask_for_vanished()),
    (0.02, lambda y: y.break_row()),
)


def play_year(folder: Path, seed: int, days: int = 365, customers: int = 25) -> Year:
    """Play so many days from one seed; the result says what was met and what did not hold."""
    rng = random.Random(f"days {seed}")
    year = Year(folder, seed=seed, switches=draws.switches(rng))
    year.institution.populate(customers)
    year.first_load()
    first, missed = year.today, False
    for number in range(1, days + 1):
        day = first + timedelta(days=number)
        year.sleep_until(day, time(0, 30))
        for chance, change in CHANGES:
            if rng.random() < chance:
                change(year)
        if missed := rng.random() < 0.1:
            year.counts["days missed"] += 1
            continue
        play_day(year, rng, day)
    if missed:
        year.load_until_green()
    year.check()
    return year


def play_day(year: Year, rng: random.Random, day: date) -> None:
    """The day's runs: a load at 04:00 or around midnight, and whatever else people do."""
    if rng.random() < 0.15:
        year.add_fault()
    if rng.random() < 0.15:
        year.add_crash()
    if rng.random() < 0.1:
        year.dry_run()
    if rng.random() < 0.01:
        year.lose_mirror()
        year.reconcile()
    elif rng.random() < 0.12:
        year.reconcile(full=rng.random() < 0.3)
    if rng.random() < 0.15:
        for ago in rng.sample(range(1, 15), rng.randrange(1, 4)):
            year.backfill(day - timedelta(days=ago), day - timedelta(days=ago - 1))
    year.sleep_until(day, rng.choice([time(4), time(4), time(4), time(23, 59, 59)]))
    if rng.random() < 0.2:
        year.load(scope="interval")
    year.load_until_green()
    year.check()
