"""Each check is green on a house in order, and broken once it names the right remedy."""

import socket
import ssl
import threading
from datetime import timedelta

import duckdb
import pytest

from kfr.clock import SystemClock
from kfr.onboarding.checks import CHECKS
from kfr.onboarding.network import Host, Unreachable, reach
from kfr.onboarding.readiness import RUN, judge_versions
from kfr.register.errors import KfrError
from tests import keystores
from tests.simulator.faults import Fault, FaultKind

pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern")


def test_every_check_has_a_task_and_every_task_a_check():
    assert [check.name for check in CHECKS] == list(RUN)


@pytest.mark.parametrize("check", RUN)
def test_a_house_in_order_passes(house, check):
    assert RUN[check](house.premises())
    assert not [event for event in house.simulator.log if event.kind in {"register_one", "file_accepted"}]


def refuse_register(house):
    house.simulator.faults.add(Fault(kind=FaultKind.STATUS, operation="look_up", nth=1, times=9, status=403))


def refuse_token(code):
    def breaks(house):
        house.simulator.faults.add(
            Fault(kind=FaultKind.MASKINPORTEN_ERROR, operation="token", nth=1, times=9, code=code)
        )

    return breaks


def point_elsewhere(house):
    house.connection(maskinporten_issuer=house.simulator.base_url + "/")


def close_register(house):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    house.connection(host=f"http://127.0.0.1:{port}/kar-ws/api/v1")


def unknown_host(house):
    house.connection(host="https://register.invalid/kar-ws/api/v1")


def turn_clock(house):
    now = SystemClock.now
    house.patch.setattr(SystemClock, "now", lambda self: now(self) + timedelta(seconds=30))


def sql(statement):
    def breaks(house):
        with duckdb.connect(str(house.folder / "warehouse.duckdb")) as database:
            database.execute(statement)

    return breaks


def occupy_staging(house):
    (house.folder / "staging").write_text("a file where a folder should be")


def unseal(house):
    from kfr.load.sealing import Seal

    house.patch.setattr(Seal, "close_in_chunks", lambda self, parts, name: iter([b"".join(parts)]))
    house.patch.setattr(Seal, "open_in_chunks", lambda self, sealed, name: iter([sealed.read()]))


def close_mail(house):
    with socket.create_server(("127.0.0.1", 0)) as free:
        house.connection("smtp_default", port=free.getsockname()[1])


def forget(connection):
    return lambda house: house.patch.delenv(f"AIRFLOW_CONN_{connection.upper()}")


def ends_in(days):
    return lambda house: house.keystore(not_after=SystemClock().now() + timedelta(days=days))


BROKEN = [
    ("file", lambda house: (house.include / "institution.yaml").write_text("nmae: x"), "use name, organisation"),
    ("file", lambda house: house.connection(fid="312345684"), "Mend the one that is wrong"),
    ("certificate", lambda house: house.connection(password="wrong"), "put the keystore's password into"),
    ("certificate", ends_in(-1), "order an enterprise certificate"),
    ("certificate", ends_in(20), "order the next one"),
    ("certificate", lambda house: house.keystore(organisation="312345684"), "use the institution's own"),
    ("certificate", lambda house: house.keystore(usage=keystores.SIGNING), "use the one for authentication"),
    ("certificate", lambda house: house.keystore(issuer=keystores.PRODUCTION_ISSUER), "ordered for this environment"),
    ("metadata", point_elsewhere, "look at maskinporten_issuer"),
    ("token", refuse_token("MP-100"), "look at login"),
    ("token", refuse_token("MP-250"), "ask DSOP@bits.no"),
    ("register", refuse_register, "Bits opens it"),
    ("network", close_register, "open the firewall"),
    ("network", unknown_host, "let the DNS"),
    ("clock", turn_clock, "synchronise it (NTP)"),
    ("warehouse", sql("ALTER TABLE agreements RENAME customer_id TO customer"), "agreements.sql"),
    ("kinds", sql("UPDATE agreements SET customer_id = '01010750160'"), "is this the right warehouse?"),
    ("staging", occupy_staging, "staging place"),
    ("staging", unseal, "in clear text"),
    ("mail", close_mail, "mend it if there is"),
    ("mail", forget("smtp_default"), "Make the connection"),
    ("warehouse", forget("kfr_warehouse"), "Create it under Admin, Connections"),
    ("file", forget("kfr_default"), "with the type kfr"),
    ("alerts", lambda house: house.set("kfr_oncall_mail", None), "kfr_oncall_mail"),
    ("installation", lambda house: house.set("kfr_staging", None), "object storage URL"),
    ("installation", lambda house: house.set("kfr_mail_to", None), "kfr_mail_to"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "breaks", "remedy"), BROKEN, ids=[f"{check}: {remedy}" for check, _, remedy in BROKEN]
)
def test_a_broken_house_is_told_the_remedy(house, check, breaks, remedy):
    breaks(house)
    with pytest.raises(KfrError) as raised:
        RUN[check](house.premises())
    assert remedy in str(raised.value)


def test_every_check_is_broken_at_least_once_here():
    assert {check for check, _, _ in BROKEN} | {"versions"} == set(RUN)  # of versions see below


def test_real_persons_whom_bits_agreed_to_are_no_flaw_in_test(house):
    sql("INSERT INTO agreements VALUES ('01010750160', DATE '2020-01-01', NULL)")(house)
    with pytest.raises(KfrError, match="where 0 are agreed with Bits"):
        RUN["kinds"](house.premises())
    file = house.include / "institution.yaml"
    file.write_text(f"{file.read_text()}agreed_test_users: 1\n")
    assert RUN["kinds"](house.premises())


def test_a_broken_certificate_leaves_the_checks_that_need_none(house):
    house.connection(password="wrong")
    for check in ("metadata", "network", "warehouse", "kinds", "staging", "mail", "clock"):
        assert RUN[check](house.premises())


@pytest.mark.parametrize(
    ("wanted", "remedy"),
    [(["httpx>=99"], "httpx is "), (["no-such-package"], "no-such-package is missing")],
)
def test_a_package_that_does_not_fit_is_named(wanted, remedy):
    with pytest.raises(KfrError, match=remedy):
        judge_versions(wanted)
    assert judge_versions(["httpx>=0.1", 'no-such-package; extra == "x"', 'other; python_version < "3"'])


def test_somebody_elses_certificate_on_the_way_is_told_from_a_closed_port(tmp_path):
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = keystores.rsa_key()
    shown = keystores.make_certificate(key).public_bytes(Encoding.PEM)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "shown.pem").write_bytes(secret + shown)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "shown.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            connection, _ = listening.accept()
            try:
                context.wrap_socket(connection, server_side=True).close()
            except OSError:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        host = Host(name="127.0.0.1", port=listening.getsockname()[1], tls=True)
        with pytest.raises(Unreachable, match="exempt the host from TLS inspection"):
            reach(host)
        thread.join()
