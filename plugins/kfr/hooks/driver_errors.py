"""Errors of database drivers, raised again by class: their text may quote an identifier they fell over."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowNotFoundException

from kfr.load.warehouse import WarehouseError
from kfr.register.errors import ConfigurationError, KfrError

_SQLSTATE = re.compile("[0-9A-Z]{5}")

# SQLSTATE classes (ISO 9075) that another try does not cure.
_SQL_AT_FAULT = {
    "0A",
    "22",
    "3F",
    "42",
}  # unsupported, a value that does not fit, no such schema, syntax or right
_LOGIN_AT_FAULT = {"28", "3D"}  # wrong password, no such database

# The same by the exception classes of PEP 249 (and ValueError), for drivers that give no SQLSTATE.
_SQL_AT_FAULT_CLASSES = {"ProgrammingError", "DataError", "NotSupportedError", "ValueError"}
_TROUBLE_CLASSES = {"OperationalError", "InterfaceError", "InternalError", "OSError"}


@contextmanager
def connecting(conn_id: str) -> Iterator[None]:
    """Translate what goes wrong while a connection is made."""
    try:
        yield
    except KfrError:
        raise
    except Exception as error:  # noqa: BLE001 - a driver may raise anything, and none of its text may pass
        raise _failed_connection(error, conn_id) from None


@contextmanager
def reading(conn_id: str, file: str) -> Iterator[None]:
    """Translate what goes wrong while the statement of an SQL file runs or its rows are fetched."""
    try:
        yield
    except KfrError:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        raise _failed_statement(error, conn_id, file) from None


def _failed_connection(error: Exception, conn_id: str) -> KfrError:
    if isinstance(error, AirflowNotFoundException):
        return ConfigurationError(
            f"There is no connection {conn_id} to the warehouse, or Airflow could not be asked for it. Create it "
            "under Admin, Connections, with the type of your database."
        )
    sqlstate = _sqlstate_of(error)
    what = f"The connection {conn_id} to the warehouse could not be opened ({_name_of(error)})"
    if _class_of(sqlstate) in _LOGIN_AT_FAULT or not _names_of(error) & _TROUBLE_CLASSES:
        return ConfigurationError(
            f"{what}: check its host, database, login, password and extra.", code=sqlstate
        )
    return WarehouseError(
        f"{what}: is the database up, and are host, port and password right?", code=sqlstate
    )


def _failed_statement(error: Exception, conn_id: str, file: str) -> KfrError:
    sqlstate = _sqlstate_of(error)
    at_fault = _class_of(sqlstate) in _SQL_AT_FAULT if sqlstate else _names_of(error) & _SQL_AT_FAULT_CLASSES
    if at_fault:
        return ConfigurationError(
            f"The database of {conn_id} does not run {file} ({_name_of(error)}). Run the file by hand there:"
            " a table or column that is missing or may not be read, a syntax that this database does not"
            " know, or a value that a cast or the driver does not take (an infinite date, for one).",
            code=sqlstate,
        )
    return WarehouseError(
        f"Reading {file} from {conn_id} broke off ({_name_of(error)}): the network or the server, or a value"
        " that a cast in the file does not take. Try again; if it comes back, run the file by hand there.",
        code=sqlstate,
    )


def _sqlstate_of(error: Exception) -> str | None:
    """The SQLSTATE as psycopg and ADBC give it (``sqlstate``) or psycopg2 (``pgcode``), if it is one."""
    for attribute in ("sqlstate", "pgcode"):
        value = getattr(error, attribute, None)
        if isinstance(value, str) and _SQLSTATE.fullmatch(value):
            return value
    return None


def _class_of(sqlstate: str | None) -> str:
    return (sqlstate or "")[:2]


def _names_of(error: Exception) -> set[str]:
    return {base.__name__ for base in type(error).__mro__}


def _name_of(error: Exception) -> str:
    return f"{type(error).__module__.split('.')[0]}: {type(error).__name__}"
