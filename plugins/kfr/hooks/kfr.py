"""The connection to the register, type `kfr`."""

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, Connection, ObjectStoragePath, Variable
from airflow.sdk.exceptions import AirflowNotFoundException

from kfr.register.errors import KfrError, Retriable

if TYPE_CHECKING:
    from kfr.clock import Clock
    from kfr.register.certificate import EnterpriseCertificate
    from kfr.register.client import AsyncRegisterClient, RegisterClient
    from kfr.register.maskinporten import TokenSource
    from kfr.register.settings import Settings

STAGING_VARIABLE = "kfr_staging"


class NoConnection(Retriable):
    """Raised when Airflow knows no such connection, or could not look: it says the same in both cases."""


class KfrHook(BaseHook):
    """
    Reach the register with the institution's certificate.

    :param kfr_conn_id: connection of type `kfr`.
    :param share: the part of `requests_per_second` that this task may use, while others of the run look up too.
    """

    conn_name_attr = "kfr_conn_id"
    default_conn_name = "kfr_default"
    conn_type = "kfr"
    hook_name = "Kundeforholdsregisteret (KFR)"

    def __init__(self, kfr_conn_id: str = default_conn_name, *, share: float = 1.0) -> None:
        super().__init__()
        self.kfr_conn_id = kfr_conn_id
        self.share = share

    @cached_property
    def settings(self) -> "Settings":
        """The connection's fields, checked; ConfigurationError names what is wrong."""
        try:
            return settings_of(self.get_connection(self.kfr_conn_id))
        except AirflowNotFoundException:
            raise NoConnection(
                f"There is no connection {self.kfr_conn_id}, or Airflow could not be asked for it. Create it under "
                "Admin, Connections, with the type kfr."
            ) from None

    def get_conn(self) -> "RegisterClient":
        """A client; close it, or use it as a context manager."""
        return client_of(self.settings, self.share)

    def test_connection(self) -> tuple[bool, str]:
        """Serve the Test button: one line that says what is right, what is not, and what was not tried."""
        said, works = [], True
        for name, check in (
            ("Fields", self._check_fields),
            ("Certificate", self._check_certificate),
            ("Token", self._check_token),
            ("Register", self._check_register),
        ):
            if not works:
                said.append(f"{name}: not tried")
                continue
            try:
                said.append(f"{name}: {check()}")
            except KfrError as error:
                said.append(f"{name}: NO, {error}")
                works = False
        return works, "; ".join(said) + "."

    def _check_fields(self) -> str:
        return f"{self.settings.environment}, fid {self.settings.fid}"

    def _check_certificate(self) -> str:
        from kfr.clock import SystemClock

        clock = SystemClock()
        found = certificate_of(self.settings, clock)
        days = (found.not_after - clock.now()).days
        return f"organisation {found.organisation_number}, {days} days left, for {found.environment}"

    def _check_token(self) -> str:
        from kfr.clock import SystemClock
        from kfr.register.maskinporten import SCOPE

        tokens_of(self.settings, SystemClock()).token()
        return f"given, scope {SCOPE}"

    def _check_register(self) -> str:
        """Look up the institution's own number, which is hardly a customer's; either answer is right."""
        from kfr.clock import SystemClock, oslo_today

        today = oslo_today(SystemClock())
        with self.get_conn() as client:
            client.look_up(int(self.settings.fid), today, today)
        return f"{self.settings.base_url} answers and lets the institution in"


def settings_of(connection: Connection) -> "Settings":
    """The checked settings of a connection of type `kfr`."""
    from kfr.register.settings import Settings

    return Settings.from_fields(
        host=connection.host,
        login=connection.login,
        password=connection.password,
        extra={name: value for name, value in connection.extra_dejson.items() if value is not None},
    )


def client_of(settings: "Settings", share: float) -> "RegisterClient":
    """A register client for a worker, at its share of the request rate."""
    from kfr.clock import SystemClock
    from kfr.hooks.telemetry import CallWatch
    from kfr.register.client import RegisterClient

    clock = SystemClock()
    return RegisterClient(
        settings,
        tokens_of(settings, clock),
        clock,
        requests_per_second=settings.requests_per_second * share,
        watch=CallWatch.of(settings),
    )


def async_client_of(settings: "Settings", share: float) -> "AsyncRegisterClient":
    """A register client for a trigger: look-ups only."""
    from kfr.clock import SystemClock
    from kfr.hooks.telemetry import CallWatch
    from kfr.register.client import AsyncRegisterClient

    clock = SystemClock()
    return AsyncRegisterClient(
        settings,
        tokens_of(settings, clock),
        clock,
        requests_per_second=settings.requests_per_second * share,
        watch=CallWatch.of(settings),
    )


def certificate_of(settings: "Settings", clock: "Clock") -> "EnterpriseCertificate":
    """The enterprise certificate of a connection; CertificateError names what is wrong with it."""
    from kfr.register.certificate import load_keystore

    return load_keystore(
        settings.keystore,
        settings.keystore_password,
        expected_organisation=settings.certificate_organisation,
        environment=settings.environment,
        at=clock.now(),
    )


def tokens_of(settings: "Settings", clock: "Clock") -> "TokenSource":
    """Tokens for a connection's institution."""
    from kfr.hooks.telemetry import CallWatch
    from kfr.register.maskinporten import TokenSource

    return TokenSource(settings, certificate_of(settings, clock), clock, watch=CallWatch.of(settings))


def staging_url() -> str:
    """Where staged files and state are kept: Variable `kfr_staging`, by default under AIRFLOW_HOME."""
    home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser().absolute()
    url: str = Variable.get(STAGING_VARIABLE, default=(home / "kfr-staging").as_uri())
    return url


def staging_root(url: str) -> Any:
    """A path to a staging URL: a local one writes atomically by rename, any other by one PUT."""
    path = ObjectStoragePath(url)
    return Path(path.path) if path.protocol in ("", "file") else path
