"""Pictures of a load, as SVG to stand in a page: colours are the page's own, so light and dark come by themselves.

Every text goes through Markup, which escapes it.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from markupsafe import Markup

from kfr.ui.templating import clock, figure

WIDTH = 960
HALF = WIDTH // 2  # of pictures that stand side by side
LEFT, RIGHT = 150, 130  # room for a file's name, and for what is said behind its bar
ROW, BAR = 24, 14
TICKS = 5
COLOURS = {"proven": "good", "waited out": "wait", "loading": "work", "no answer": "bad", "not proven": "bad"}
SERIES = ("f-bad", "f-wait", "f-work", "f-good", "f-idle")
BARS_HEIGHT = 120
MOST_BARS = 40


def timeline(files: Sequence[dict[str, Any]], now: float) -> Markup:
    """Each file from its sending to its proof, against the time at which it should be loaded.

    :param files: as `load.summary` gives them; a file without `sent_at` is yet to be sent.
    """
    sent = [f for f in files if f["sent_at"]]
    first = min((f["sent_at"] for f in sent), default=now)
    last = max(
        [now, *(f["proven_at"] or f["loaded_at"] or now for f in sent)]
        if any(not f["proven_at"] for f in files)
        else [f["proven_at"] for f in sent] or [now]
    )
    span = max(last - first, 1.0)

    def x(moment: float) -> float:
        return float(round(LEFT + (WIDTH - LEFT - RIGHT) * (moment - first) / span, 1))

    height = ROW * len(files) + 26
    parts = [_axis(first, span, x, height)]
    for number, file in enumerate(files):
        parts.append(_file(file, 4 + number * ROW, now, x))
    if any(f["status"] in ("loading", "no answer") for f in files):
        parts.append(_line("now", x(now), height - 20))
    return _svg(height, parts, "Files over time")


def bars(columns: Sequence[tuple[str, dict[str, int]]], names: Sequence[str]) -> Markup:
    """Stacked bars, one a run, oldest first: how many of each of `names`.

    :param columns: what to call the run, and its figures.
    """
    columns = columns[-MOST_BARS:]
    top = max((sum(values.get(n, 0) for n in names) for _, values in columns), default=0) or 1
    step = (HALF - 60) / max(len(columns), 12)
    parts = [
        Markup('<line class="grid" x1="50" x2="{0}" y1="{1}" y2="{1}"/>').format(HALF, BARS_HEIGHT),
        Markup('<text x="44" y="14" text-anchor="end">{}</text>').format(figure(top)),
        Markup('<text x="44" y="{}" text-anchor="end">0</text>').format(BARS_HEIGHT),
    ]
    for number, (label, values) in enumerate(columns):
        base = float(BARS_HEIGHT)
        at = round(50 + number * step + step * 0.15, 1)
        said = ", ".join(f"{n} {figure(values[n])}" for n in names if values.get(n)) or "none"
        parts.append(Markup("<g><title>{}: {}</title>").format(label, said))
        parts.append(_rect("base", at, BARS_HEIGHT - 2, round(step * 0.7, 1), 2))
        for name, colour in zip(names, _colours(len(names)), strict=True):
            tall = (BARS_HEIGHT - 10) * values.get(name, 0) / top
            if tall:
                tall = max(tall, 1.5)
                base -= tall
                parts.append(_rect(colour, at, round(base, 1), round(step * 0.7, 1), round(tall, 1)))
        parts.append(Markup("</g>"))
    if columns:
        parts.append(Markup('<text x="50" y="{}">{}</text>').format(BARS_HEIGHT + 16, columns[0][0]))
    if len(columns) > 3:
        end = round(50 + (len(columns) - 0.15) * step, 1)
        ending = Markup('<text x="{}" y="{}" text-anchor="end">{}</text>')
        parts.append(ending.format(end, BARS_HEIGHT + 16, columns[-1][0]))
    return _svg(BARS_HEIGHT + 20, parts, "By run", width=HALF)


def legend(names: Sequence[str]) -> Markup:
    """What the colours of `bars` stand for."""
    item = Markup('<span><svg viewBox="0 0 10 10" style="display:inline;width:.7rem"><rect class="{}" width="10" '
                  'height="10" rx="2"/></svg> {}</span>')  # fmt: skip
    found = [item.format(c, n) for n, c in zip(names, _colours(len(names)), strict=True)]
    return Markup('<div class="legend soft">{}</div>').format(Markup("").join(found))


def queue(counts: Sequence[tuple[str, int, str]]) -> Markup:
    """Bars that lie: name, number and colour of each."""
    top = max((n for _, n, _ in counts), default=0) or 1
    parts = []
    for number, (name, count, colour) in enumerate(counts):
        y = 4 + number * ROW
        wide = round((HALF - 200) * count / top, 1)
        parts.append(Markup('<text class="strong" x="0" y="{}">{}</text>').format(y + 11, name))
        parts.append(_rect("base", 110, y, HALF - 200, BAR))
        if count:
            parts.append(_rect(f"f-{colour}", 110, y, max(wide, 3), BAR))
        parts.append(Markup('<text x="{}" y="{}">{}</text>').format(HALF - 80, y + 11, figure(count)))
    return _svg(ROW * len(counts) + 4, parts, "Removals by state", width=HALF)


def _file(file: dict[str, Any], y: float, now: float, x: Any) -> Markup:
    rows = f"{figure(file['rows'])} rows" if file["rows"] else ""
    name = Markup(
        '<text class="strong" x="0" y="{}">{}</text><text x="{}" y="{}" text-anchor="end">{}</text>'
    )
    parts = [Markup("<g>"), name.format(y + 11, file["label"], LEFT - 10, y + 11, rows)]
    parts.append(_rect("base", LEFT, y, WIDTH - LEFT - RIGHT, BAR))
    if file["sent_at"]:
        begins = x(file["sent_at"])
        ends = x(file["proven_at"] or max(file["loaded_at"] or now, now))
        colour = COLOURS.get(file["status"], "idle")
        if file["proven_at"] or file["status"] == "waited out":
            parts.append(_rect(f"f-{colour}", begins, y, max(ends - begins, 3), BAR))
        else:  # what has passed of the time it should take, and what is left of it
            parts.append(_rect(f"f-{colour}", begins, y, max(ends - begins, 3), BAR, opacity=0.3))
            parts.append(_rect(f"f-{colour}", begins, y, max(x(now) - begins, 3), BAR))
    parts.append(Markup('<text x="{}" y="{}">{}</text>').format(WIDTH - RIGHT + 10, y + 11, _said(file, now)))
    parts.append(Markup("<title>{}</title></g>").format(_told(file)))
    return Markup("").join(parts)


def _said(file: dict[str, Any], now: float) -> str:
    if file["status"] == "loading":
        if now <= file["loaded_at"]:
            return f"until {clock(file['loaded_at'])}"
        return (
            f"looked up until {clock(file['looked_up_until'])}" if now < file["looked_up_until"] else "late"
        )
    return str(file["status"])


def _told(file: dict[str, Any]) -> str:
    facts = [f"File {file['label']}: {file['status']}"]
    for word, name in (("sent", "sent_at"), ("should be loaded", "loaded_at"), ("proven", "proven_at")):
        if file[name]:
            facts.append(f"{word} {clock(file[name], seconds=True)}")
    if file["sends"] > 1:
        facts.append(f"sent {file['sends']} times")
    if file["refused"]:
        facts.append(f"{file['refused']} rows refused by the register")
    if file["sent"] and file["sent"][-1]["correlation_id"]:
        facts.append(f"CorrelationID {file['sent'][-1]['correlation_id']}")
    return ", ".join(facts)


def _axis(first: float, span: float, x: Any, height: int) -> Markup:
    parts = []
    seconds = span < timedelta(minutes=5).total_seconds()
    for number in range(TICKS):
        moment = first + span * number / (TICKS - 1)
        anchor = {0: "start", TICKS - 1: "end"}.get(number, "middle")
        line = Markup('<line class="grid" x1="{0}" x2="{0}" y1="0" y2="{1}"/>').format(x(moment), height - 20)
        text = Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>')
        parts += [line, text.format(x(moment), height - 4, anchor, clock(moment, seconds=seconds))]
    return Markup("").join(parts)


def _colours(count: int) -> list[str]:
    return [SERIES[min(number, len(SERIES) - 1)] for number in range(count)]


def _rect(kind: str, x: float, y: float, wide: float, tall: float, *, opacity: float = 1.0) -> Markup:
    shape = Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="2" opacity="{}"/>')
    return shape.format(kind, x, y, round(wide, 1), tall, opacity)


def _line(kind: str, x: float, tall: float) -> Markup:
    return Markup('<line class="{0}" x1="{1}" x2="{1}" y1="0" y2="{2}"/>').format(kind, x, tall)


def _svg(height: float, parts: Sequence[Markup], title: str, *, width: int = WIDTH) -> Markup:
    frame = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return frame.format(width, height, title, Markup("").join(parts))
