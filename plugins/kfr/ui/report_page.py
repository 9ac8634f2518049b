"""A report as a page of its own: readable by whoever it is handed to, light and dark, nothing fetched."""

from collections.abc import Sequence
from typing import Any

from kfr.ui.templating import page

COUNTED_APART = "rows"  # the total, which stands last


def render(report: dict[str, Any], *, script: str = "", links: Sequence[tuple[str, str]] = ()) -> str:
    """Render a report; every value is escaped.

    :param links: name and address of what lies beside it.
    """
    rows = report.get("rows", {})
    read = [(name.replace("_", " "), n) for name, n in rows.items() if name != COUNTED_APART]
    return page(
        "report.html",
        r=report,
        read=[*read, ("rows in all", rows.get(COUNTED_APART))],
        rejected=sorted(report.get("rejected", {}).items(), key=lambda item: -item[1]),
        links=links,
        script=script,
    )
