"""What carrying a plan out will take, at the register's rate."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from kfr.clock import OSLO, oslo_date, oslo_today
from kfr.load.journal import schedule
from kfr.load.world import World
from kfr.register.limits import NOTICE_ROWS_PER_DAY

FILES_IN_FLIGHT = 2  # so that the register always has the next file while one is proven


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What carrying the plan out will take, at the register's rate, before anything is sent."""

    rows: int
    files: int
    size: int  # bytes
    hours: float
    ends_at: str  # ISO, Oslo time
    rows_by_day: dict[str, int]  # by Oslo day of sending, with what left earlier that day

    @property
    def notice_days(self) -> list[str]:
        """Days on which Bits wants to be told first (ONB D-3)."""
        return [day for day, rows in self.rows_by_day.items() if rows > NOTICE_ROWS_PER_DAY]


def foresee(world: World, rows: list[int], size: int) -> Forecast:
    """When files of so many rows, sent from now on, will be loaded; two are in flight at a time."""
    rate, now = world.settings.rows_per_second, world.now
    busy_until = max((p.loaded_at for p in schedule(world.journal.sends(), rate).values()), default=now)
    loaded_at: list[float] = []
    by_day: dict[date, int] = {}
    for number, n in enumerate(rows):
        sent_at = loaded_at[number - FILES_IN_FLIGHT] if number >= FILES_IN_FLIGHT else now
        day = oslo_date(datetime.fromtimestamp(sent_at, UTC))
        by_day[day] = by_day.get(day, 0) + n
        loaded_at.append(max(busy_until, sent_at, *loaded_at[-1:], now) + n / rate)
    ends = loaded_at[-1] if loaded_at else now
    today = oslo_today(world.clock)
    by_day[today] = by_day.get(today, 0) + world.journal.rows_sent_on(today)
    return Forecast(
        rows=sum(rows),
        files=len(rows),
        size=size,
        hours=round((ends - now) / timedelta(hours=1).total_seconds(), 2),
        ends_at=datetime.fromtimestamp(ends, OSLO).isoformat(timespec="seconds"),
        rows_by_day={day.isoformat(): n for day, n in sorted(by_day.items())},
    )
