import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kfr.register.certificate import EnterpriseCertificate, load_keystore
from kfr.register.signature import SignatureWrong, Signed, sign, verify
from tests import keystores

CONTENT = b'{"rows": 12}\n'


@pytest.fixture
def certificate(tmp_path: Path) -> EnterpriseCertificate:
    keystore = tmp_path / "keystore.p12"
    keystore.write_bytes(keystores.make_keystore())
    return load_keystore(
        str(keystore),
        keystores.PASSWORD,
        expected_organisation=keystores.ORGANISATION,
        environment="test",
        at=datetime.now(UTC),
    )


def test_a_signature_says_who_signed(certificate: EnterpriseCertificate):
    signer = verify(CONTENT, sign(CONTENT, certificate))
    assert (signer.organisation_number, signer.issuer) == (keystores.ORGANISATION, keystores.TEST_ISSUER)
    assert signer.valid_until == certificate.not_after


def test_openssl_alone_checks_it(certificate: EnterpriseCertificate, tmp_path: Path):
    """The line of the runbook, on the files that `python -m kfr report` writes."""
    signed = sign(CONTENT, certificate)
    (tmp_path / "r.json").write_bytes(CONTENT)
    (tmp_path / "r.sig").write_bytes(signed.signature)
    (tmp_path / "r.pem").write_bytes(signed.certificate)
    line = "openssl x509 -in r.pem -pubkey -noout > r.pub && openssl dgst -sha256 -verify r.pub -signature r.sig r.json"
    assert (
        "Verified OK"
        in subprocess.run(
            line, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
        ).stdout
    )
    (tmp_path / "r.json").write_bytes(CONTENT.replace(b"12", b"13"))
    assert subprocess.run(
        line, shell=True, cwd=tmp_path, capture_output=True, timeout=60, check=False
    ).returncode


@pytest.mark.parametrize("what", ["content", "signature", "certificate", "no certificate"])
def test_what_was_changed_is_refused(certificate: EnterpriseCertificate, what: str):
    content, signed = CONTENT, sign(CONTENT, certificate)
    if what == "content":
        content += b" "
    elif what == "signature":
        signed = replace(signed, signature=signed.signature[:-1] + bytes([signed.signature[-1] ^ 1]))
    elif what == "certificate":
        other = replace(certificate, key=keystores.rsa_key("another"))
        signed = Signed(signature=sign(content, other).signature, certificate=signed.certificate)
    else:
        signed = replace(signed, certificate=b"nothing")
    with pytest.raises(SignatureWrong):
        verify(content, signed)
