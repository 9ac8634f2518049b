"""The notice to Bits before more than 100,000 relationships go in a day (ONB D-3).

It goes when the plan is approved, for each day of its forecast from today on: Bits hears nothing of a plan that is
turned down. A plan can be carried out on another day than it was forecast for: it waited for a person, files were
sent again, many arrived. So whoever sends counts once more.
"""

from datetime import date

from kfr.clock import oslo_today
from kfr.load import planning
from kfr.load.deliveries import deliver, has_left
from kfr.load.forecast import Forecast, foresee
from kfr.load.papers import (
    NOTICE,
    Language,
    Mail,
    day_name,
    environment_name,
    moment_name,
    preview,
    spaced,
    write_mail,
)
from kfr.load.world import World
from kfr.register.limits import NOTICE_ROWS_PER_DAY


def announce_volume(world: World) -> list[str]:
    """Send the notice for each day of the forecast that needs one, once; return those of which it left now."""
    planning.require_approved(world)
    forecast, today = planning.read(world).forecast, oslo_today(world.clock).isoformat()
    if min(forecast.rows_by_day, default=today) < today:  # approved on a later day than it was made for
        forecast = _foresee_anew(world)
    days = [day for day in forecast.notice_days if day >= today and not has_left(world, _delivery(day))]
    for day in days:
        deliver(world, _delivery(day), notice(world, forecast, day), ask=False)
    return days


def announce_before(world: World, rows: int) -> None:
    """Send the notice for today before `rows` more leave, if they make it more than 100,000 and none has left.

    :raises MailNotSent: the notice did not leave, so nothing may.
    """
    today = oslo_today(world.clock)
    day, sent = today.isoformat(), world.journal.rows_sent_on(today)
    if sent + rows <= NOTICE_ROWS_PER_DAY or has_left(world, _delivery(day)):
        return
    deliver(world, _delivery(day), notice(world, _foresee_anew(world, rows), day), ask=False)


def _foresee_anew(world: World, *rows: int) -> Forecast:
    """The forecast from now on, of the plan's files that were not begun; of `rows` if there is none."""
    begun = {send.label for send in world.journal.sends() if send.run == world.run.key}
    labels = [label for label in planning.read(world).labels if label not in begun]
    return foresee(world, [len(world.place.read_array(f"files/{label}")) for label in labels] or [*rows], 0)


def preview_volume(world: World) -> list[str]:
    """The notices as they would be sent, for a dry run."""
    forecast = planning.read(world).forecast
    return [
        preview(notice(world, forecast, day), notice(world, forecast, day, "en"), world.mail_to)
        for day in forecast.notice_days
    ]


def notice(world: World, forecast: Forecast, day: str, language: Language = "no") -> Mail:
    """The notice that over 100,000 relationships will be loaded in a day."""
    values = {
        "day": day_name(date.fromisoformat(day), language),
        "fid": world.settings.fid,
        "environment": environment_name(world.settings.environment, language),
        "rows_that_day": spaced(forecast.rows_by_day[day]),
        "rows": spaced(forecast.rows),
        "files": forecast.files,
        "hours": f"{forecast.hours:.1f}".replace(".", "," if language == "no" else "."),
        "ends_at": moment_name(forecast.ends_at, language),
    }
    return write_mail(world.papers, NOTICE, language, values)


def _delivery(day: str) -> str:
    return f"notice-{day}"
