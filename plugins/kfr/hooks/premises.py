"""What this installation has, part by part: a flaw in one must not hide the others."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, Variable
from airflow.sdk.exceptions import AirflowNotFoundException

from kfr.clock import Clock, SystemClock
from kfr.hooks.kfr import STAGING_VARIABLE, KfrHook, certificate_of, staging_root, staging_url, tokens_of
from kfr.hooks.mail import SmtpMailer
from kfr.hooks.warehouse import SqlWarehouse
from kfr.hooks.world import MAIL_VARIABLE, mail_to
from kfr.load.staging import Place, Staging
from kfr.onboarding.institution import Institution, find_institution
from kfr.register.errors import ConfigurationError

if TYPE_CHECKING:
    from kfr.register.certificate import EnterpriseCertificate
    from kfr.register.client import RegisterClient
    from kfr.register.maskinporten import TokenSource
    from kfr.register.settings import Settings

ALERTS_CONNECTION = "kfr_alerts"
ONCALL_VARIABLE = "kfr_oncall_mail"


class AirflowPremises:
    """The connections, Variables and files of one institution, each looked up when it is asked for.

    :param say: progress for a person.
    :param installed: raises what is wrong with Airflow itself, which only a run's task can see.
    """

    def __init__(
        self,
        *,
        institution: str,
        include: str,
        params: Mapping[str, Any],
        say: Callable[[str], None],
        installed: Callable[[], str] = lambda: "",
    ) -> None:
        self.say = say
        self._installed = installed
        self._key = institution
        self._include = Path(include)
        self._hook = KfrHook(params["kfr_conn_id"])
        self._params = params
        self.clock: Clock = SystemClock()
        self.mailer = SmtpMailer()

    @cached_property
    def institution(self) -> Institution:
        return find_institution(self._key, self._include)

    @property
    def settings(self) -> "Settings":
        return self._hook.settings

    @cached_property
    def certificate(self) -> "EnterpriseCertificate":
        return certificate_of(self.settings, self.clock)

    @cached_property
    def tokens(self) -> "TokenSource":
        return tokens_of(self.settings, self.clock)

    @property
    def register(self) -> "RegisterClient":
        return self._hook.get_conn()

    @property
    def mail_to(self) -> str:
        return mail_to(self.settings.environment)

    @property
    def now(self) -> float:
        """Unix seconds."""
        return self.clock.now().timestamp()

    @property
    def warehouse(self) -> SqlWarehouse:
        return SqlWarehouse(self._params["warehouse_conn_id"], self.institution.sql_folder)

    @property
    def state(self) -> Place:
        settings, root = self.settings, staging_root(staging_url())
        return Staging(root, settings.staging_key, environment=settings.environment, fid=settings.fid).state

    def check_alerts(self) -> str:
        """Somebody must hear of a failed load."""
        try:
            BaseHook.get_connection(ALERTS_CONNECTION)
        except AirflowNotFoundException:
            to: str | None = Variable.get(ONCALL_VARIABLE, default=None)
            if to:
                return f"mail to {to}"
            raise ConfigurationError(
                f"Nobody would hear of a failed load; make the Apprise connection {ALERTS_CONNECTION}, or set the "
                f"Variable {ONCALL_VARIABLE} to a mail address"
            ) from None
        return f"connection {ALERTS_CONNECTION}"

    def check_installation(self) -> str:
        """Airflow itself, and the Variables that the environment cannot do without."""
        found = self._installed()
        needed = [STAGING_VARIABLE]
        if self.settings.environment != "production":
            needed.append(MAIL_VARIABLE)
        missing = [name for name in needed if not Variable.get(name, default=None)]
        if missing:
            raise ConfigurationError(
                f"The Variables {', '.join(missing)} are not set; {STAGING_VARIABLE} is an object storage URL that "
                f"workers and triggerer share, {MAIL_VARIABLE} the address that gets Bits' mails in test"
            )
        return f"{found}, Variables {', '.join(needed)}"
