"""A key that never leaves its token signs like any other; the token is SoftHSM2, and OpenSC's tool agrees."""

import base64
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.audit.app import AuditSettings
from services.cli.beginning import begin_log
from services.cli.installation import Installation
from services.cli.reading import reading, verify
from services.cli.stack import Stack
from shared.note import NoteKey
from shared.pkcs11 import TokenKey
from shared.signers import load_keyring, load_signer
from shared.signing import Signer, SignerError, SigningKey, verify_event
from shared.words import TrailError
from tests import ed25519
from tests.notary import LOG, ORIGIN, ROOT, TRIAL, Office, text_key

pkcs11 = pytest.importorskip("pkcs11", reason="python-pkcs11 is absent: make strangers")
MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
MODULE = next((path for path in MODULES if Path(path).exists()), None)
pytestmark = pytest.mark.skipif(
    MODULE is None or shutil.which("softhsm2-util") is None, reason="SoftHSM2 is absent: apt-get install softhsm2"
)
PIN = "431 897"
LABEL = "trial"
URI = f"pkcs11:token=trial;object=log?module-path={MODULE}"


@pytest.fixture(scope="module", autouse=True)
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A token ``trial`` with the keys ``log``, ``next``, twins of one name, and a pair that does not fit."""
    place = tmp_path_factory.mktemp("softhsm")
    (place / "tokens").mkdir()
    (place / "conf").write_text(f"directories.tokendir = {place}/tokens\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(place / "conf")
    command = ["softhsm2-util", "--init-token", "--free", "--label", "trial", "--pin", PIN, "--so-pin", "1234567"]
    subprocess.run(command, check=True, capture_output=True)
    token = pkcs11.lib(MODULE).get_token(token_label=LABEL)
    if pkcs11.Mechanism.EDDSA not in token.slot.get_mechanisms():
        pytest.skip("this SoftHSM2 was built without EdDSA")
    with token.open(rw=True, user_pin=PIN) as session:
        for label, name in (("log", b"\x01"), ("next", b"\x02"), ("twin", b"\x03"), ("twin", b"\x04")):
            generate(session, label, name)
        private, public = generate(session, "torn", b"\x05")[1], generate(session, "half", b"\x06")[0]
        public[pkcs11.Attribute.LABEL] = "torn"
        session.get_key(object_class=pkcs11.ObjectClass.PUBLIC_KEY, id=b"\x05").destroy()
        public[pkcs11.Attribute.ID] = private[pkcs11.Attribute.ID]
    yield
    pkcs11.unload(MODULE)
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


def generate(session: "pkcs11.Session", label: str, name: bytes) -> tuple["pkcs11.PublicKey", "pkcs11.PrivateKey"]:
    from pkcs11.util.ec import encode_named_curve_parameters

    parameters = session.create_domain_parameters(
        pkcs11.KeyType.EC_EDWARDS,
        {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("1.3.101.112")},
        local=True,
    )
    mechanism = pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN
    public, private = parameters.generate_keypair(mechanism=mechanism, store=True, label=label, id=name)
    return public, private


def key(label: str = "log") -> TokenKey:
    signer = load_signer(URI.replace("object=log", f"object={label}"), pin=PIN)
    assert isinstance(signer, TokenKey)
    return signer


def test_a_tokens_signature_is_an_events_signature_like_any_other() -> None:
    signer: Signer = key()
    for payload in (b"", b"an event", b"x" * 60_000):
        signature = base64.b64decode(signer.sign_event(payload))
        assert len(signature) == 64
        assert verify_event(signer.public, signature, payload)
        assert not verify_event(signer.public, signature, payload + b"!")


def test_it_is_pure_ed25519_as_an_implementation_without_any_library_checks_it() -> None:
    signer = key()
    assert ed25519.second_opinion(signer.public, signer.sign(b"message"), b"message")


@pytest.mark.skipif(shutil.which("pkcs11-tool") is None, reason="pkcs11-tool is absent: apt-get install opensc")
def test_opensc_signs_the_same_bytes_with_the_same_key(tmp_path: Path) -> None:
    (tmp_path / "message").write_bytes(b"a checkpoint\n")
    subprocess.run(
        ["pkcs11-tool", "--module", str(MODULE), "--token-label", LABEL, "--login", "--pin", PIN, "--sign",
         "-m", "EDDSA", "--id", "01", "-i", str(tmp_path / "message"), "-o", str(tmp_path / "signature")],
        check=True, capture_output=True,
    )  # fmt: skip
    assert (tmp_path / "signature").read_bytes() == key().sign(b"a checkpoint\n")


def test_the_private_key_cannot_be_taken_out_of_the_token() -> None:
    private = key()._key
    assert private[pkcs11.Attribute.SENSITIVE]
    assert not private[pkcs11.Attribute.EXTRACTABLE]
    with pytest.raises(pkcs11.exceptions.PKCS11Error):
        _ = private[pkcs11.Attribute.VALUE]


def test_a_log_moves_from_a_file_into_a_token_by_rotating_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = Office.founded(tmp_path / "office")
    office.notary.close()
    LOG.save(tmp_path / "log.pem")
    values = {
        "TRIAL": TRIAL,
        "BROKER": "nats://127.0.0.1:1",
        "DATA": str(tmp_path),
        "KEY": str(tmp_path / "log.pem"),
    }
    for name, value in (values | {"KEY_NEXT": URI, "KEY_PIN": PIN}).items():
        monkeypatch.setenv(f"TRAIL_{name}", value)
    office.keyring = AuditSettings().keyring()
    office.notary = office.open()
    rotated = office.post("log.key_rotated", {"public_key": text_key(key()), "why": "into the HSM"}, key=ROOT)
    assert rotated.admitted
    office.notary.close()
    office.keyring = load_keyring(URI, pin=PIN)  # the file may be taken away now
    office.notary = office.open()
    assert office.register().admitted
    assert office.verify().faults == []
    office.notary.close()


@pytest.mark.slow
def test_a_running_system_moves_its_log_key_into_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = begin_log(tmp_path / "trial")
    monkeypatch.setenv("TRAIL_KEY_NEXT", URI)
    monkeypatch.setenv("TRAIL_KEY_PIN", PIN)
    command = [sys.executable, "-m", "services.cli.app", "key", "rotate", "--why", "into the HSM", "--to", URI]
    for _ in range(2):  # and it starts again with it
        stack = Stack(home)
        try:
            stack.start()
            if not home.rotations:
                done = subprocess.run(
                    [*command, "--data", str(home.directory)], capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, done.stdout + done.stderr
        finally:
            stack.stop()
        home = Installation.open(home.directory)
    assert home.log.current.public == key().public
    with reading(home) as source:
        assert verify(source, log_key=home.log.current).faults == []
    written = b"".join(path.read_bytes() for path in (home.directory / "run").glob("*.log"))
    assert PIN.encode() not in written


def test_a_session_that_breaks_off_is_begun_again() -> None:
    signer = key()
    before = signer.sign(b"message")
    signer._session.close()
    assert signer.sign(b"message") == before


def test_two_keys_of_one_token_sign_in_one_process_and_from_many_threads() -> None:
    signers = [key("log"), key("next")]
    faults: list[object] = []

    def work(signer: Signer, salt: int) -> None:
        for turn in range(50):
            message = b"%d %d" % (salt, turn)
            if not NoteKey(ORIGIN, signer.public).holds(signer.sign(message), message):
                faults.append(message)

    threads = [threading.Thread(target=work, args=(signers[salt % 2], salt)) for salt in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert signers[0].public != signers[1].public


def test_another_key_in_the_tokens_place_signs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = key()
    signer._session.close()
    signer._public = SigningKey.from_seed(b"o" * 32).public
    with pytest.raises(SignerError, match="holds another key than before; put back the token"):
        signer.sign(b"message")


def test_a_wrong_pin_is_tried_once_and_never_printed() -> None:
    pkcs11.lib(MODULE).reinitialize()  # the login of the tests before is the whole process's
    signer = key()
    signer._session.close()
    signer._pin = "000000"
    tries: list[str] = []
    login = signer._login
    signer._login = lambda: (tries.append("once"), login())[1]  # type: ignore[method-assign]
    for _ in range(3):
        with pytest.raises(SignerError, match=r"refuses the PIN .*tokens lock themselves") as refused:
            signer.sign(b"message")
        assert "000000" not in str(refused.value)
    assert tries == ["once"]
    assert key().sign(b"message"), "the token is not locked"


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        (URI.replace("trial", "lost"), "no such token is present"),
        (URI.replace("object=log", "object=lost"), "the token has 0 private Ed25519 keys"),
        (URI.replace("object=log", "object=twin"), "the token has 2 private Ed25519 keys"),
        (URI.replace("object=log", "object=torn"), "do not belong together"),
        (URI.replace("libsofthsm2", "lost"), r"cannot be used: .*cannot open shared object file"),
    ],
)
def test_what_is_not_as_it_should_be_is_said_in_a_sentence(uri: str, sentence: str) -> None:
    with pytest.raises(SignerError, match=sentence):
        load_signer(uri, pin=PIN)


def test_a_key_is_found_by_its_id_and_its_pin_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "pin").write_text(f"{PIN}\n")
    uri = URI.replace("object=log", "id=%01") + f"&pin-source=file:{tmp_path}/pin"
    assert load_signer(uri).public == key().public


def test_without_python_pkcs11_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(TrailError, match=r"pip install 'trialtrail\[pkcs11\]'"):
        load_signer(URI, pin=PIN)
