"""The completed integration test: its report in both forms, and the mail C-3 that takes it to Bits."""

from dataclasses import dataclass, field
from typing import Final

from kfr.load.papers import FOLDER, Language, Mail, environment_name, moment_name, write_mail
from kfr.load.world import Attachment, World
from kfr.onboarding.cases import read_cases
from kfr.onboarding.institution import Institution
from kfr.onboarding.integration import FAILED, read_results
from kfr.onboarding.integration_report import as_html, as_xlsx, counts

XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedTest:
    """What one run of the integration test came to; ``failed`` are ids of cases."""

    failed: list[str]
    page: str = field(repr=False)
    sheet: bytes = field(repr=False)
    norwegian: Mail
    english: Mail


def completed_test(world: World, institution: Institution) -> CompletedTest:
    """Put report and mail together from this run's results."""
    papers = institution.include / FOLDER
    cases, results = read_cases(institution.include), read_results(world)
    at = max((result.at for result in results), default="")
    heading = f"Integrasjonstest mot Kundeforholdsregisteret, org.nr. {world.settings.fid}, {at}"
    page, sheet = as_html(cases, results, heading), as_xlsx(cases, results, heading)
    attachments = (
        Attachment(name="integrasjonstest.xlsx", media_type=XLSX, content=sheet),
        Attachment(name="integrasjonstest.html", media_type="text/html", content=page.encode()),
    )

    def mail(language: Language) -> Mail:
        values = {
            "name": institution.name,
            "fid": world.settings.fid,
            "environment": environment_name(world.settings.environment, language),
            "at": moment_name(at, language) if at else "",
            "sender": institution.sender,
            **counts(results),
        }
        return write_mail(papers, "c-3", language, values, attachments if language == "no" else ())

    return CompletedTest(
        failed=[result.id for result in results if result.outcome == FAILED],
        page=page,
        sheet=sheet,
        norwegian=mail("no"),
        english=mail("en"),
    )


def keep(world: World, test: CompletedTest) -> None:
    """Keep the report where the deliveries are kept: the run's own files go when it is over."""
    world.state.write(f"reports/{world.run.key}.html", test.page.encode())
    world.state.write(f"reports/{world.run.key}.xlsx", test.sheet)
