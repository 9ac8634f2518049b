"""Everything that the guide's tasks A-3 to A-7 and B-1 must have brought about, a check each, with the remedy."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any, Final, Protocol

import numpy as np
from packaging.requirements import Requirement

from kfr.clock import Clock, oslo_today
from kfr.load import readiness
from kfr.load.staging import Place
from kfr.load.warehouse import Warehouse
from kfr.load.world import Mailer
from kfr.onboarding.institution import Institution
from kfr.onboarding.network import METADATA, Unreachable, ask, date_of, host_of, reach
from kfr.register.certificate import EnterpriseCertificate
from kfr.register.client import RegisterClient
from kfr.register.errors import ConfigurationError, Fatal, Retriable
from kfr.register.maskinporten import SCOPE, TokenSource
from kfr.register.settings import Settings
from kfr.relationships.guards import Limits, Severity, judge
from kfr.relationships.identifiers import World, worlds
from kfr.relationships.identifiers import check as check_identifiers

ORDERING_DAYS: Final = 30  # a certificate that ends sooner is ordered now: identity checks take weeks
CLOCK_SECONDS: Final = 5  # Maskinporten takes 10 (DIG), and its Date header has no fractions
IDENTIFIERS_READ: Final = 500_000  # enough to see a wrong warehouse, and seconds at most
DISTRIBUTION: Final = "airflow-kfr"


class Premises(Protocol):
    """What an installation has; each part raises its own flaw when it is asked for, and only then."""

    clock: Clock

    @property
    def institution(self) -> Institution: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def certificate(self) -> EnterpriseCertificate: ...
    @property
    def tokens(self) -> TokenSource: ...
    @property
    def register(self) -> RegisterClient: ...
    @property
    def warehouse(self) -> Warehouse: ...
    @property
    def state(self) -> Place: ...
    @property
    def mailer(self) -> Mailer: ...
    def check_alerts(self) -> str: ...
    def check_installation(self) -> str: ...


def check_file(premises: Premises) -> str:
    institution = premises.institution
    institution.require_own_register(premises.settings)
    missing = institution.missing
    return f"it lacks, for B-2: {', '.join(missing)}" if missing else "it is complete"


def check_certificate(premises: Premises) -> str:
    certificate = premises.certificate
    left = (certificate.not_after - premises.clock.now()) // timedelta(days=1)
    if left < ORDERING_DAYS:
        raise ConfigurationError(
            f"The certificate ends on {certificate.not_after:%Y-%m-%d}, in {left} days; order the next one from "
            "Buypass or Commfides now (ONB A-3), and put it into the connection before that day"
        )
    return f"by {certificate.issuer}, for {certificate.environment}, {left} days left"


def check_metadata(premises: Premises) -> str:
    issuer = premises.settings.maskinporten_issuer
    response = ask(f"{issuer}{METADATA}")
    try:
        said: Any = response.json()
    except (ValueError, RecursionError):
        said = None
    found = said if isinstance(said, dict) else {}
    if found.get("issuer") != issuer or found.get("token_endpoint") != f"{issuer}token":
        raise ConfigurationError(
            f"{host_of(issuer)} does not describe itself as Maskinporten does (status {response.status_code}); look "
            "at maskinporten_issuer, and at proxies and gateways on the way"
        )
    return f"{issuer} is the issuer that it says it is"


def check_token(premises: Premises) -> str:
    premises.tokens.token()
    return f"a token with the scope {SCOPE}"


def check_network(premises: Premises) -> str:
    settings = premises.settings
    found, failed = [], []
    for host in dict.fromkeys(host_of(url) for url in (settings.base_url, settings.maskinporten_issuer)):
        try:
            found.append(reach(host))
        except Unreachable as error:
            failed.append(str(error))
    if failed:
        raise Unreachable(". ".join(failed))
    return ", ".join(found)


def check_register(premises: Premises) -> str:
    with premises.register as register:
        return readiness.check_register(register, premises.settings, premises.clock)


def check_warehouse(premises: Premises) -> str:
    return readiness.check_warehouse(premises.warehouse, premises.clock)


def check_kinds(premises: Premises) -> str:
    """See that the first identifiers may go where the connection leads (promise 10)."""
    today, kinds, numbers_of_2032, rows = oslo_today(premises.clock), Counter[int](), 0, 0
    with premises.warehouse.agreements(today) as snapshot:
        for batch in snapshot.batches():
            checked = check_identifiers(batch.column(0))
            kinds.update(worlds(checked.kinds[checked.kinds != 0]).tolist())
            numbers_of_2032 += int(np.count_nonzero(checked.is_2032))
            rows += batch.num_rows
            if rows >= IDENTIFIERS_READ:
                break
    findings = judge(
        rows=rows,
        rows_rejected=rows - kinds.total(),
        customers=rows,
        desired=0,
        mirror=0,
        population=0,
        removals=0,
        worlds={world: kinds[world] for world in World},
        numbers_of_2032=numbers_of_2032,
        environment=premises.settings.environment,
        on=today,
        limits=Limits(agreed_test_users=premises.institution.agreed_test_users),
    )
    stopping = [finding.message for finding in findings if finding.severity is Severity.STOPS]
    if stopping:
        raise Fatal(" ".join(stopping))
    return f"{kinds.total():,} of the first {rows:,} rows have an identifier that may go there"


def check_staging(premises: Premises) -> str:
    return readiness.check_staging(premises.state)


def check_mail(premises: Premises) -> str:
    return readiness.check_mail(premises.mailer)


def check_clock(premises: Premises) -> str:
    """Compare with the servers' own clocks: Maskinporten refuses what is dated ten seconds off (MP-130)."""
    settings, offsets = premises.settings, []
    for url in (f"{settings.maskinporten_issuer}{METADATA}", settings.base_url):
        theirs = date_of(ask(url))
        if theirs is not None:
            offsets.append((premises.clock.now() - theirs).total_seconds())
    if not offsets:
        raise Retriable("neither Maskinporten nor the register said what time it is; try again later")
    worst = max(offsets, key=abs)
    if abs(worst) > CLOCK_SECONDS:
        raise ConfigurationError(
            f"This machine's clock is {worst:+.0f} s from the servers'; synchronise it (NTP): Maskinporten takes "
            "ten seconds at most"
        )
    return f"within {CLOCK_SECONDS} s of the servers' clocks"


def check_versions(premises: Premises) -> str:
    del premises
    return judge_versions(requires(DISTRIBUTION) or ())


def judge_versions(wanted: Iterable[str]) -> str:
    """Compare what is installed with requirements; those of an extra only count where it is installed."""
    wrong, count = [], 0
    for requirement in map(Requirement, wanted):
        in_extra = "extra" in str(requirement.marker or "")
        if requirement.marker and not in_extra and not requirement.marker.evaluate():
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            if not in_extra:
                wrong.append(f"{requirement.name} is missing")
            continue
        count += 1
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} is {found}, and {requirement.specifier} is wanted")
    if wrong:
        raise ConfigurationError(f"{'; '.join(wrong)}; install {DISTRIBUTION} anew with its requirements")
    return f"{DISTRIBUTION} {version(DISTRIBUTION)}, apache-airflow {version('apache-airflow')}, {count} packages fit"


RUN: Final[Mapping[str, Callable[[Premises], str]]] = {
    "file": check_file,
    "certificate": check_certificate,
    "metadata": check_metadata,
    "token": check_token,
    "register": check_register,
    "network": check_network,
    "clock": check_clock,
    "warehouse": check_warehouse,
    "kinds": check_kinds,
    "staging": check_staging,
    "mail": check_mail,
    "alerts": lambda premises: premises.check_alerts(),
    "installation": lambda premises: premises.check_installation(),
    "versions": check_versions,
}
