"""The page's templates: escaped, with the style inside, so that nothing is fetched from anywhere."""

from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from kfr.clock import OSLO

NOTHING = "\u2013"  # where there is no value


def page(template: str, *, script: str = "", **values: Any) -> str:
    """Fill a template in. `script` is our own and goes in as it is."""
    style = Markup(source("style.css"))  # noqa: S704 - our own file
    return _environment().get_template(template).render(style=style, script=Markup(script), **values)  # noqa: S704


def figure(value: Any) -> str:
    """A number with a thin gap at each thousand; a dash where there is none."""
    return NOTHING if value is None or value == "" else f"{value:,}".replace(",", "\u202f")


def moment(value: Any) -> str:
    """An ISO moment or Unix seconds in Norwegian time, to the minute."""
    if not value:
        return NOTHING
    at = datetime.fromisoformat(value) if isinstance(value, str) else datetime.fromtimestamp(value, OSLO)
    return f"{at.astimezone(OSLO):%Y-%m-%d %H:%M}"


def clock(value: float, *, seconds: bool = False) -> str:
    """Unix seconds as the time of a Norwegian day."""
    return f"{datetime.fromtimestamp(value, OSLO):{'%H:%M:%S' if seconds else '%H:%M'}}"


def duration(seconds: float | None) -> str:
    """Seconds in the largest two units that say something."""
    if seconds is None:
        return NOTHING
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes >= 5 else f"{minutes} min {rest} s" if minutes else f"{rest} s"


@cache
def _environment() -> Environment:
    found = Environment(loader=PackageLoader("kfr.ui"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    found.filters |= {"figure": figure, "moment": moment, "duration": duration}
    return found


@cache
def source(name: str) -> str:
    """One of our own files, as it is."""
    environment = _environment()
    if environment.loader is None:
        return ""
    text: str = environment.loader.get_source(environment, name)[0]
    return text
