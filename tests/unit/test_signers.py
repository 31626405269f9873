"""Whatever signs is a Signer, and a setting says which; no error that comes of it holds a secret."""

import base64
from pathlib import Path

import pytest

from services.audit.app import AuditSettings
from shared.checkpoint import Checkpoint, cosign, open_checkpoint, open_cosignature
from shared.merkle import EMPTY_ROOT
from shared.note import COSIGNATURE, NoteKey
from shared.outbox import Outbox
from shared.secrets import read_secret
from shared.settings import ServiceSettings
from shared.signers import load_keyring, load_signer
from shared.signing import Keyring, Signer, SignerError, SigningKey, key_id, verify_event
from shared.words import SourceId, TrailError
from tests.notary import LOG, ORIGIN, REGISTERED, SITE, TRIAL, Office
from tests.unit.test_outbox import draft

PHRASE = b"correct horse battery staple"
NEXT = SigningKey.from_seed(b"n" * 32)


class Cloud(Signer):
    """A key management service: all it gives is a public key, and signatures."""

    def __init__(self, key: SigningKey) -> None:
        self._far_away = key

    @property
    def public(self) -> bytes:
        return self._far_away.public

    def sign(self, message: bytes) -> bytes:
        return self._far_away.sign(message)


def pem(tmp_path: Path, key: SigningKey = SITE, passphrase: bytes | None = None) -> str:
    path = tmp_path / f"{key.id}.pem"
    key.save(path, passphrase)
    return path.read_text()


def test_two_methods_are_all_that_a_signer_needs_to_be_named_and_to_sign_events() -> None:
    signer = Cloud(SITE)
    assert signer.id == SITE.id == key_id(SITE.public)
    assert signer.sign_event(b"an event") == SITE.sign_event(b"an event")


def test_a_signer_without_a_private_key_here_signs_checkpoints_cosignatures_and_a_whole_log(tmp_path: Path) -> None:
    head = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    note = head.sign(Cloud(LOG))
    assert open_checkpoint(note, NoteKey(ORIGIN, LOG.public)) == head
    witness = NoteKey("w.example", NEXT.public, COSIGNATURE)
    found = open_cosignature(note + cosign(head.text(), "w.example", Cloud(NEXT), 7), witness)
    assert found is not None
    assert found.time == 7
    office = Office.founded(tmp_path / "office")
    office.notary.close()
    office.keyring = Keyring(Cloud(LOG))
    office.notary = office.open()
    outbox = Outbox.at(tmp_path / "outbox.sqlite", SourceId("site/701"), TRIAL)
    outbox.put([draft(type="screening.registered", data=REGISTERED)], lambda _role: Cloud(SITE))
    sent = outbox.waiting(1)[0]
    assert office.send(sent.payload, SITE).admitted
    assert verify_event(SITE.public, base64.b64decode(sent.signature), sent.payload)
    outbox.close()
    office.notary.close()


def test_what_a_signer_could_not_sign_is_signed_when_it_answers_again(tmp_path: Path) -> None:
    class Away(Cloud):
        answers = True

        def sign(self, message: bytes) -> bytes:
            if not self.answers:
                raise SignerError("the token does not answer")
            return super().sign(message)

    office, away = Office.founded(tmp_path / "office"), Away(LOG)
    office.notary.close()
    office.keyring = Keyring(away)
    office.notary = office.open()
    size = office.notary.size
    away.answers = False
    for _ in range(2):
        with pytest.raises(OSError, match="the token does not answer"):  # what a service tries again after
            office.register()
    assert office.notary.checkpoints.latest() is not None
    away.answers = True
    office.notary.seal([])
    assert office.notary.size == size + 1
    assert office.verify().faults == []
    office.notary.close()


def saved(path: Path, key: SigningKey, passphrase: bytes | None = None) -> Path:
    key.save(path, passphrase)
    return path


def test_a_key_is_read_from_a_file_or_from_text_with_or_without_a_passphrase(tmp_path: Path) -> None:
    plain, locked = saved(tmp_path / "plain.pem", SITE), saved(tmp_path / "locked.pem", SITE, PHRASE)
    for reference, passphrase in ((plain, None), (locked, PHRASE)):
        text = reference.read_text()
        for one in (str(reference), text, text.replace("\n", "\\n")):
            assert load_signer(one, passphrase=passphrase).public == SITE.public


def test_a_key_that_cannot_be_opened_is_named_without_its_text(tmp_path: Path) -> None:
    text = pem(tmp_path, passphrase=PHRASE)
    for reference in (text, text.replace("A", "B")):
        with pytest.raises(TrailError, match="the key that is given as text cannot be opened") as failed:
            load_signer(reference, passphrase=b"wrong")
        assert text.splitlines()[1] not in str(failed.value)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in {"TRIAL": TRIAL, "BROKER": "nats://127.0.0.1:1", "DATA": str(tmp_path)}.items():
        monkeypatch.setenv(f"TRAIL_{name}", value)
    return monkeypatch


def test_a_services_key_comes_from_a_file_as_its_environment_says(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("TRAIL_KEY", str(saved(tmp_path / "site.pem", SITE)))
    assert ServiceSettings().signer().public == SITE.public


def test_a_services_key_comes_from_a_variable_and_its_passphrase_from_a_mounted_secret(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    text = pem(tmp_path, passphrase=PHRASE)
    environment.setenv("TRAIL_KEY_PEM", text)
    (tmp_path / "passphrase").write_bytes(PHRASE + b"\n")
    environment.setenv("TRAIL_KEY_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    settings = ServiceSettings()
    assert settings.signer().public == SITE.public
    assert text.splitlines()[1] not in repr(settings)


def test_a_key_that_is_given_twice_is_not_chosen_between(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TRAIL_KEY", "site.pem")
    environment.setenv("TRAIL_KEY_PEM", pem(tmp_path))
    with pytest.raises(TrailError, match="both TRAIL_KEY and TRAIL_KEY_PEM are set"):
        ServiceSettings()


def test_a_notary_is_given_the_key_to_rotate_to_from_anywhere(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("TRAIL_KEY_PEM", pem(tmp_path, LOG))
    with pytest.raises(TrailError, match="name it in TRAIL_KEY_NEXT"):
        AuditSettings().keyring().get(NEXT.public)
    environment.setenv("TRAIL_KEY_NEXT", str(saved(tmp_path / "elsewhere.pem", NEXT)))
    keyring = AuditSettings().keyring()
    assert [keyring.get(key.public).public for key in (LOG, NEXT)] == [LOG.public, NEXT.public]


def test_later_keys_beside_an_encrypted_one_open_with_its_passphrase_or_none(tmp_path: Path) -> None:
    third = SigningKey.from_seed(b"3" * 32)
    saved(tmp_path / "log.pem", LOG, PHRASE)
    saved(tmp_path / "log-2.pem", NEXT, PHRASE)
    saved(tmp_path / "log-3.pem", third)
    keyring = load_keyring(str(tmp_path / "log.pem"), passphrase=PHRASE)
    assert [keyring.get(key.public).public for key in (LOG, NEXT, third)] == [
        LOG.public, NEXT.public, third.public,
    ]  # fmt: skip


def test_a_secret_that_is_not_there_or_empty_says_which(tmp_path: Path) -> None:
    with pytest.raises(TrailError, match=r"the secret .*lost cannot be read .*; is it mounted\?"):
        read_secret(tmp_path / "lost")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(TrailError, match=r"the secret .*empty is empty"):
        read_secret(tmp_path / "empty")


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("pkcs11:token=t;object=log?module-path=/m.so&pin-value=98765", "holds a PIN, .* change that PIN"),
        ("pkcs11:token=t;object=log?module-path=/m.so&pin-value=98765&x=1", "holds a PIN"),
        ("pkcs11:token=t;object=log", "must give token, object and module-path"),
        ("pkcs11:object=log?module-path=/m.so", "must give token, object and module-path"),
        ("pkcs11:token=t?module-path=/m.so", "must give token, object and module-path"),
        ("pkcs11:token=t;object=log;slot-id=1?module-path=/m.so", "may give token, serial, object, id"),
        ("pkcs11:token=t;object=log;type=public?module-path=/m.so", "may give token, serial, object, id"),
        ("pkcs11:token=t;object=log?module-path=/m.so&module-name=98765", "may give module-path and pin-source"),
        ("pkcs11:token=t;token=u;object=log?module-path=/m.so", "twice or empty"),
        ("pkcs11:token=t;object=?module-path=/m.so", "twice or empty"),
        ("pkcs11:token=t;object=log?module-path=/m.so", "needs its PIN: put it into TRAIL_KEY_PIN"),
        ("pkcs11:token=t;object=log?module-path=/m.so&pin-source=file:/lost", "the secret /lost cannot be read"),
    ],
)
def test_the_address_of_a_key_in_a_token_is_read_strictly_and_never_repeats_a_pin(uri: str, sentence: str) -> None:
    with pytest.raises(TrailError, match=sentence) as refused:
        load_signer(uri)
    assert "98765" not in str(refused.value)
