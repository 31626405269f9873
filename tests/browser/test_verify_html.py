"""verify.html in a real browser, from the disk and without a network: the same verdicts as verify.py."""

import base64
import json
import random
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.console.bundle import verify
from shared.note import NoteKey
from tests.ed25519 import hard_cases
from tests.evidence import KINDS, NEXT_KEY, Case, Unpacked, case, covered, judged, packed, unpacked
from tests.notary import LOG_KEY, ORIGIN, STRANGER

pytestmark = pytest.mark.slow

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
PAGE = Path(verify.__file__).with_suffix(".html")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield started
        started.close()


class Inspector:
    """Somebody at the page. ``asked`` collects every request that it makes, ``errors`` what its console says."""

    def __init__(self, page: Any, directory: Path) -> None:
        self.page = page
        self.asked: list[str] = []
        self.errors: list[str] = []
        self._directory = directory
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text))
        page.goto(PAGE.as_uri())

    def check(self, bundle: Path) -> str:
        """Give the page a bundle; its verdict."""
        self.page.evaluate("document.getElementById('result').hidden = true")
        self.page.set_input_files("#bundle", [])
        self.page.set_input_files("#bundle", bundle)
        return self.verdict()

    def check_files(self, files: Unpacked) -> str:
        bundle = self._directory / "given.zip"
        bundle.write_bytes(packed(files))
        return self.check(bundle)

    def verdict(self) -> str:
        self.page.wait_for_selector("#result:not([hidden])", timeout=120_000)
        return str(self.page.inner_text("#verdict"))

    def details(self) -> list[str]:
        """Every sentence that the page tells, commands below them left out."""
        return [text.split("\n")[0].strip() for text in self.page.locator("#details li").all_inner_texts()]


@pytest.fixture
def inspector(browser: Any, tmp_path: Path) -> Iterator[Inspector]:
    context = browser.new_context(offline=True)
    inspector = Inspector(context.new_page(), tmp_path)
    yield inspector
    assert inspector.errors == []
    assert {url.split(":")[0] for url in inspector.asked} <= {"file", "blob"}
    context.close()


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(tmp_path_factory.mktemp("sealed"))


@pytest.fixture(scope="module")
def bundles(sealed: Case, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("bundles")
    return {kind: sealed.bundle(directory / f"{kind}.zip", kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_bundle_holds_and_the_page_tells_what_verify_py_tells(
    inspector: Inspector, bundles: dict[str, Path], kind: str
) -> None:
    assert inspector.check(bundles[kind]) == "This bundle holds."
    check = verify.Check(verify.Files(bundles[kind]), None)
    expected = [sentence.split("\n")[0] for sentence in [*check(), *check.proves, *check.lacks]]
    assert set(expected) <= set(inspector.details())
    assert "THE LOG'S KEY COMES FROM THE BUNDLE" in inspector.page.inner_text("#details")


def test_the_keys_you_know_yourself_count(inspector: Inspector, bundles: dict[str, Path], tmp_path: Path) -> None:
    for key in (LOG_KEY, NEXT_KEY):
        inspector.page.fill("#log-key", key.vkey())
        assert inspector.check(bundles["site"]) == "This bundle holds."
        assert "The log's key is the one that you gave." in inspector.details()
    stranger = NoteKey(ORIGIN, STRANGER.public)
    inspector.page.fill("#log-key", stranger.vkey())
    assert "not the one that you gave" in inspector.check(bundles["site"])
    inspector.page.fill("#log-key", "nonsense")
    assert "is not a log's key" in inspector.check(bundles["site"])
    inspector.page.fill("#log-key", "")
    (tmp_path / "policy").write_bytes(
        unpacked(bundles["site"])["policy"].replace(LOG_KEY.vkey().encode(), b"nothing")
    )
    inspector.page.set_input_files("#policy", tmp_path / "policy")
    assert "line 1 of the policy cannot be used" in inspector.check(bundles["site"])
    (tmp_path / "policy").write_bytes(unpacked(bundles["site"])["policy"])
    inspector.page.set_input_files("#policy", tmp_path / "policy")
    assert inspector.check(bundles["site"]) == "This bundle holds."


@pytest.mark.parametrize("kind", ["all", "range", "site"])
def test_it_refuses_what_verify_py_refuses_in_the_same_words(
    inspector: Inspector, bundles: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    files, draw = unpacked(bundles[kind]), random.Random(kind)
    evidence = [
        name for name in sorted(files) if name not in {"README.txt", "RECORD.html", "verify.py", "verify.html"}
    ]
    named = ["checkpoint", "policy", "identities.json", "manifest.json", *draw.sample(evidence, 6)]
    for name in named:
        if name.endswith((".pem", ".tsr")) or name.startswith("checkpoints/"):
            continue
        at = draw.randrange(len(files[name]))
        flipped = files | {name: files[name][:at] + bytes([files[name][at] ^ 1]) + files[name][at + 1 :]}
        for changed in [flipped] if name == "manifest.json" else [flipped, covered(flipped)]:
            told = judged(changed, tmp_path)
            verdict = inspector.check_files(changed)
            assert told
            assert verdict.startswith("This bundle does not hold: ")
            if name != "manifest.json":  # what no longer is JSON each tells in its own way
                assert told[:30] in verdict


@pytest.mark.parametrize(
    ("kind", "left_out", "told"),
    [
        ("range", "50", "entry 50 is missing"),
        ("site", "22", "is neither here nor in a gap"),
        ("participant", "0", "entry 0, which names the log's keys, is not here"),
    ],
)
def test_an_entry_left_out_is_missed(
    inspector: Inspector, bundles: dict[str, Path], kind: str, left_out: str, told: str
) -> None:
    files = unpacked(bundles[kind])
    gone = {f"entries/{left_out}", f"proofs/{left_out}.tlog-proof"}
    assert gone <= files.keys()

    def count(manifest: dict[str, Any]) -> None:
        manifest["counts"]["entries"] -= 1
        manifest["counts"]["admitted"] -= 1

    fewer = covered({name: data for name, data in files.items() if name not in gone}, count)
    assert told in inspector.check_files(fewer)


def test_a_forged_signature_a_swapped_proof_and_a_missing_cosignature_are_named(
    inspector: Inspector, bundles: dict[str, Path]
) -> None:
    files = unpacked(bundles["range"])
    swapped = files | {"proofs/41.tlog-proof": files["proofs/42.tlog-proof"]}
    assert "proofs/41.tlog-proof is not about entry 41" in inspector.check_files(covered(swapped))
    lines = files["checkpoint"].decode().splitlines(keepends=True)
    alone = files | {"checkpoint": "".join(lines[:-1]).encode()}
    assert "cosigned by w1; the quorum is both" in inspector.check_files(covered(alone))
    whole = unpacked(bundles["all"])
    entries = whole["tile/entries/000"]
    at = entries.index(b'"value":') + 8
    forged = whole | {"tile/entries/000": entries[:at] + bytes([entries[at] ^ 1]) + entries[at + 1 :]}
    assert "its signature is not that of key" in inspector.check_files(covered(forged))


def test_it_says_no_more_than_the_bundle_proves(inspector: Inspector, bundles: dict[str, Path]) -> None:
    files = unpacked(bundles["participant"])
    claimed = covered(files, lambda manifest: manifest.update(proves=["<b>All is well.</b>"]))
    assert "manifest.json does not say what such a bundle proves" in inspector.check_files(claimed)
    assert "All is well" not in inspector.page.inner_text("body")


def test_damaged_files_get_a_sentence(inspector: Inspector, bundles: dict[str, Path], tmp_path: Path) -> None:
    bundle = bundles["range"].read_bytes()
    for at, data in enumerate(
        (b"", b"PK", b"not a zip" * 50, bundle[: len(bundle) // 2], bundle[:-30], bundle[50:])
    ):
        path = tmp_path / f"{at}.zip"
        path.write_bytes(data)
        verdict = inspector.check(path)
        assert verdict.startswith("This bundle does not hold: ")
        assert "malformed" not in verdict
    files = unpacked(bundles["range"])
    for name in ("policy", "checkpoint", "identities.json", "manifest.json", "entries/45", "proofs/45.tlog-proof"):
        for content in (b"", b"{}", b"null", b"\xff\xfe", b"[" * 5000):
            changed = files | {name: content}
            verdict = inspector.check_files(changed if name == "manifest.json" else covered(changed))
            assert verdict.startswith("This bundle does not hold: ")
            assert "malformed" not in verdict, (name, content, verdict)


def test_a_zip_in_the_format_for_large_archives_is_read(
    inspector: Inspector, bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more than 65,535 files or 4 GB, made small by lowering what counts as that."""
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 10)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    path = tmp_path / "large.zip"
    path.write_bytes(packed(unpacked(bundles["range"])))
    assert b"PK\x06\x06" in path.read_bytes()
    assert inspector.check(path) == "This bundle holds."


def test_it_is_usable_by_keyboard_and_on_a_narrow_screen(inspector: Inspector, bundles: dict[str, Path]) -> None:
    page = inspector.page
    page.set_viewport_size({"width": 360, "height": 640})
    order = []
    for _ in range(3):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id"))
    assert order == ["log-key", "policy", "bundle"]
    for element in ("log-key", "policy", "bundle"):
        assert page.locator(f"label[for={element}]").count() == 1
    inspector.check(bundles["site"])
    assert page.evaluate("document.activeElement.id") == "result"
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("#doing").get_attribute("aria-live") == "polite"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast_in_light_and_dark(
    inspector: Inspector, bundles: dict[str, Path], scheme: str
) -> None:
    page = inspector.page
    page.emulate_media(color_scheme=scheme)
    inspector.check(bundles["range"])
    colours = page.evaluate(
        """() => ["body", "#verdict"].map((one) => getComputedStyle(document.querySelector(one)).color)"""
    )
    background = (255, 255, 255) if scheme == "light" else (18, 18, 18)  # what Chromium paints behind both
    for colour in colours:
        red, green, blue = (int(part) for part in colour.removeprefix("rgb(").rstrip(")").split(","))
        assert contrast((red, green, blue), background) >= 4.5


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """WCAG 2.1's contrast ratio."""

    def luminance(colour: tuple[int, int, int]) -> float:
        parts = [part / 255 for part in colour]
        red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_a_bundle_can_be_dropped_on_it(inspector: Inspector, bundles: dict[str, Path]) -> None:
    inspector.page.evaluate(
        """(content) => {
            const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "dropped.zip"));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
        }""",
        base64.b64encode(bundles["participant"].read_bytes()).decode(),
    )
    assert inspector.verdict() == "This bundle holds."


def test_hard_signatures_get_the_same_verdicts_from_the_browser(inspector: Inspector) -> None:
    cases = hard_cases()
    told = inspector.page.evaluate(
        """(cases) => Promise.all(cases.map((one) => {
            const [key, signature, message] = one.map((text) => unbase64(text, ""));
            return ed25519(key, signature, message);
        }))""",
        [[base64.b64encode(part).decode() for part in one] for one in cases],
    )
    expected = [verify.ed25519(*one) for one in cases]
    assert told == expected
    assert set(expected) == {True, False}


def test_its_sentences_and_field_names_are_verify_pys(inspector: Inspector) -> None:
    for kind, of in (("all", None), ("range", None), ("site", "site/1"), ("participant", "p-1")):
        for quorum in ("none", "both"):
            told = inspector.page.evaluate(
                f"JSON.stringify(statements({json.dumps(kind)}, {json.dumps(of)}, 3, 8, 9, '{quorum}'))"
            )
            assert json.loads(told) == [*map(list, verify.statements(kind, of, 3, 8, 9, quorum))]
    assert set(inspector.page.evaluate("Object.keys(MANIFEST)")) == set(verify.MANIFEST)
