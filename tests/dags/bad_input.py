"""Ways to give a load bad input, one function each; what is undone at a test's end is undone by its bank's `patch`."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests import keystores
from tests.conftest import ROOT
from tests.postgres import free_port

Flaw = Callable[[Any], Any]  # what it does to a `tests.dags.bank.Bank`; that one would load Airflow here
TOP_LEVEL = ("host", "login", "password")


def connection(**changes: Any) -> Flaw:
    """Other fields of the connection to the register; None takes one away."""

    def spoil(bank: Any) -> None:
        name = "AIRFLOW_CONN_KFR_DEFAULT"
        fields = json.loads(os.environ[name])
        for field, value in changes.items():
            where = fields if field in TOP_LEVEL else fields["extra"]
            where[field] = value
            if value is None:
                del where[field]
        bank.patch.setenv(name, json.dumps(fields))

    return spoil


def keystore(**options: Any) -> Flaw:
    """Another keystore, made by `tests.keystores`."""
    return lambda bank: bank.keystore.write_bytes(keystores.make_keystore(**options))


def expired_keystore(bank: Any) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    keystore(not_before=yesterday - timedelta(days=365), not_after=yesterday)(bank)


def without(variable: str) -> Flaw:
    """An environment variable that is not set: a connection, a Variable or a setting."""
    return lambda bank: bank.patch.delenv(variable)


def sql(file: str, text: str) -> Flaw:
    """Another statement in one of the warehouse's files, as an institution might write it."""

    def spoil(bank: Any) -> None:
        folder = bank.folder / "sql"
        shutil.copytree(ROOT / "include" / "sql", folder)
        (folder / file).write_text(text)
        for task in bank.dag.tasks:
            if hasattr(task, "sql_folder"):
                bank.patch.setattr(task, "sql_folder", str(folder))

    return spoil


def statement(text: str) -> Flaw:
    """Another warehouse."""
    return lambda bank: bank.execute(text)


def full_disk(task_id: str) -> Flaw:
    """No space is left while a task runs, which the operating system says when bytes must go to the disk."""

    def refuse(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @contextmanager
    def while_it_runs(ti: Any) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            if ti.task_id == task_id:
                patch.setattr(os, "fsync", refuse)
            yield

    return lambda bank: setattr(bank, "trouble", while_it_runs)


def no_pool(_bank: Any) -> None:
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session

    with create_session() as session:
        session.query(Pool).filter_by(pool="kfr_register").delete()


def two_slots(_bank: Any) -> None:
    from airflow.models.pool import Pool

    Pool.create_or_update_pool("kfr_register", slots=2, description="", include_deferred=False)


def mail_server_away(bank: Any) -> None:
    fields = json.loads(os.environ["AIRFLOW_CONN_SMTP_DEFAULT"])
    bank.patch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps({**fields, "port": free_port()}))
