"""The integration test's report for Bits, as a page and as a spreadsheet, in Norwegian (ONB C-3)."""

import html
import io
from collections import Counter
from collections.abc import Sequence
from typing import Final

from kfr.onboarding.cases import Case
from kfr.onboarding.checks import STYLE
from kfr.onboarding.integration import FAILED, NOT_RUN, PASSED, Result

OUTCOMES: Final = {PASSED: "bestått", FAILED: "feilet", NOT_RUN: "ikke kjørt"}
OPERATIONS: Final = {
    "register_one": "Registrere én",
    "remove_one": "Fjerne én",
    "register_file": "Registrere fil",
    "look_up": "Oppslag",
}
COLUMNS: Final = (
    "Id", "Id hos Bits", "Operasjon", "Testtilfelle", "Test case", "Forventet", "Faktisk", "Resultat",
    "CorrelationID", "Tidspunkt (UTC)", "Millisekunder",
)  # fmt: skip
WIDTHS: Final = (9, 12, 16, 48, 48, 22, 26, 12, 38, 26, 14)  # characters


def rows(cases: Sequence[Case], results: Sequence[Result]) -> list[tuple[str, ...]]:
    """A row a case, in the order of COLUMNS; a case without a result has not been run."""
    found = {result.id: result for result in results}
    listed: list[tuple[str, ...]] = []
    for case in cases:
        result = found.get(case.id, Result(id=case.id, outcome=NOT_RUN, actual=""))
        listed.append(
            (
                case.id,
                case.bits_id,
                OPERATIONS[case.operation],
                case.title,
                case.title_en,
                str(case.expect),
                result.actual,
                OUTCOMES[result.outcome],
                result.correlation_id,
                result.at,
                str(result.milliseconds) if result.at else "",
            )
        )
    return listed


def counts(results: Sequence[Result]) -> dict[str, int]:
    """How many cases passed, failed and were not run."""
    found = Counter(result.outcome for result in results)
    return {outcome: found[outcome] for outcome in OUTCOMES}


def as_html(cases: Sequence[Case], results: Sequence[Result], heading: str) -> str:
    """The report as a page of its own; text is escaped."""
    marks = {OUTCOMES[PASSED]: "yes", OUTCOMES[FAILED]: "no", OUTCOMES[NOT_RUN]: "open"}
    header = "".join(f"<th>{html.escape(column)}</th>" for column in COLUMNS)
    body = "\n".join(
        f'<tr class="{marks[row[7]]}">{"".join(f"<td>{html.escape(cell)}</td>" for cell in row)}</tr>'
        for row in rows(cases, results)
    )
    found = counts(results)
    return f"""<!doctype html>
<html lang="no"><head><meta charset="utf-8"><title>{html.escape(heading)}</title>{STYLE}</head><body>
<h1>{html.escape(heading)}</h1>
<p>{found[PASSED]} bestått, {found[FAILED]} feilet, {found[NOT_RUN]} ikke kjørt.</p>
<table><thead><tr>{header}</tr></thead>
<tbody>
{body}
</tbody></table></body></html>
"""


def as_xlsx(cases: Sequence[Case], results: Sequence[Result], heading: str) -> bytes:
    """The same as a spreadsheet: one sheet, a header that stays, a filter on every column."""
    from openpyxl import Workbook
    from openpyxl.styles import Alignment, Font
    from openpyxl.utils import get_column_letter

    book = Workbook()
    sheet = book.active or book.create_sheet()
    sheet.title = "Integrasjonstest"
    sheet.append([heading])
    sheet.append(list(COLUMNS))
    for row in rows(cases, results):
        sheet.append(list(row))
    for place, width in enumerate(WIDTHS, 1):
        sheet.column_dimensions[get_column_letter(place)].width = width
        sheet.cell(2, place).font = Font(bold=True)
        for line in range(3, sheet.max_row + 1):
            sheet.cell(line, place).alignment = Alignment(wrap_text=True, vertical="top")
    sheet["A1"].font = Font(bold=True, size=14)
    sheet.freeze_panes = "A3"
    sheet.auto_filter.ref = f"A2:{get_column_letter(len(COLUMNS))}{sheet.max_row}"
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()
