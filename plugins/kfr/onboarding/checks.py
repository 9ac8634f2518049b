"""The checks of `kfr_readiness` by name, and what a check comes to. Light: a Dag file reads it."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check; ``tasks`` of the guide are the ones that it speaks for."""

    name: str
    tasks: str
    title: str


CHECKS: Final = (
    Check(name="file", tasks="B-2", title="The institution's file"),
    Check(name="certificate", tasks="A-3", title="Enterprise certificate"),
    Check(name="metadata", tasks="A-4", title="Maskinporten's metadata"),
    Check(name="token", tasks="A-4, B-1", title="Token with the register's scope"),
    Check(name="register", tasks="B-1", title="The register answers"),
    Check(name="network", tasks="A-7", title="Firewall: name, TCP, TLS"),
    Check(name="clock", tasks="A-6", title="This machine's clock"),
    Check(name="warehouse", tasks="A-6", title="Warehouse: SQL, columns, types, count"),
    Check(name="kinds", tasks="A-5, A-6", title="Identifiers suit the environment"),
    Check(name="staging", tasks="A-6", title="Staging: writable and encrypted"),
    Check(name="mail", tasks="A-6", title="Mail server"),
    Check(name="alerts", tasks="A-6", title="Alert channel"),
    Check(name="installation", tasks="A-6", title="Pool, Variables, masking"),
    Check(name="versions", tasks="A-6", title="Versions"),
)
BY_NAME: Final = {check.name: check for check in CHECKS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check came to; ``text`` is what was found, or cause and remedy. Never an identifier."""

    check: str
    passed: bool
    text: str
    seconds: float


NOT_RUN: Final = "it did not run; see its task's log"


def complete(findings: Sequence[Finding]) -> list[Finding]:
    """One finding a check, in their order; a check that said nothing has not passed."""
    found = {finding.check: finding for finding in findings}
    return [
        found.get(check.name, Finding(check=check.name, passed=False, text=NOT_RUN, seconds=0.0))
        for check in CHECKS
    ]


def as_text(findings: Sequence[Finding]) -> str:
    """The report for a log and a mail's body."""
    return "\n".join(
        f"{'in place' if f.passed else 'NOT YET '}  {BY_NAME[f.check].tasks:8}  {BY_NAME[f.check].title}: {f.text}"
        for f in findings
    )


def as_html(findings: Sequence[Finding], heading: str) -> str:
    """The report as a page of its own; text is escaped."""
    rows = "\n".join(
        f'<tr class="{"yes" if f.passed else "no"}"><td>{"in place" if f.passed else "not yet"}</td>'
        f"<td>{BY_NAME[f.check].tasks}</td><td>{html.escape(BY_NAME[f.check].title)}</td>"
        f"<td>{html.escape(f.text)}</td><td>{f.seconds:.1f}</td></tr>"
        for f in findings
    )
    passed = sum(f.passed for f in findings)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(heading)}</title>{STYLE}</head><body>
<h1>{html.escape(heading)}</h1>
<p>{passed} of {len(findings)} checks are in place.</p>
<table><thead><tr><th></th><th>Task</th><th>Check</th><th>Found, or what to do</th><th>Seconds</th></tr></thead>
<tbody>
{rows}
</tbody></table></body></html>
"""


STYLE: Final = """<style>
body { font: 15px/1.5 sans-serif; margin: 2em; max-width: 70em; }
table { border-collapse: collapse; } th, td { text-align: left; vertical-align: top; padding: .4em .8em; }
tr { border-bottom: 1px solid #ccc; } .yes td:first-child { color: #06692a; }
.no td:first-child { color: #a00; font-weight: bold; }
</style>"""
