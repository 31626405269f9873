"""The two files of a bundle that are for people: README.txt, and RECORD.html, the entries in words (§11.10(b))."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from string import Template
from typing import Any, Final

from services.console.private import Destroyed, Reader
from services.console.signature_words import manifestation
from services.console.signatures import Book, Signature
from services.console.words import in_words
from shared.decider import SealedEvent, read_event
from shared.entry import Entry
from shared.envelope import read_envelope
from shared.events import short_type
from shared.words import RefusedError

_LONGEST_QUOTE: Final = 300


@dataclass(frozen=True, slots=True)
class Cover:
    """What stands at the head of both files."""

    trial: str
    what: str
    checkpoint: str
    log_key: str
    proves: Sequence[str]
    does_not_prove: Sequence[str]


_README: Final = Template("""\
Evidence bundle of trial $trial: $what

What this is
  Sealed entries of an append-only log: events as their sources signed them, and how the log's notary ruled on
  each. Whoever knows the log's key sees whether an entry was changed, removed or moved since the log signed it,
  without the word and without the programs of whoever runs the log.

How to check it, without a network
  python3 verify.py                  in this folder, or: python3 verify.py BUNDLE.zip
  verify.html                        open it in a browser and drop the zip on it
Both were put in here by whoever made the bundle. verify.py is one file of plain Python, meant to be read; you may
also take it from another bundle, or from the project.

Compare the log's key with the one that you were given by another way, or give that one as --log-key:
  $log_key

The formats are C2SP's (c2sp.org: signed-note, tlog-checkpoint, tlog-cosignature, tlog-tiles, tlog-proof,
tlog-policy) and RFC 9162's, so other tools check them as well, for instance Go's golang.org/x/mod/sumdb.

When everything holds, it proves:
$proves

It does not prove:
$lacks

What is in it
  RECORD.html                        the entries in words, to read and to print
  manifest.json                      what was selected, and the SHA-256 of every other file
  checkpoint                         the log's signed statement of its size and root, with cosignatures
  checkpoints/SIZE                   other checkpoints that something here refers to
  policy                             the log's and the witnesses' keys, and how many witnesses are enough
  tile/entries/..., tile/LEVEL/...   all entries and hashes, when the bundle is the whole log
  entries/INDEX, proofs/INDEX.tlog-proof    else: each entry with its proof of inclusion
  consistency/OLD-NEW                proof that the log of OLD entries grew into the log of NEW
  timestamps/SIZE.AUTHORITY.tsr      RFC 3161 tokens over the text SIZE.txt; AUTHORITY.pem: the roots
  identities.json                    who holds which key, granted and revoked by which entry
  protocols/VERSION.yaml             the trial's protocol, in each version that was sealed

An entry is a line of JSON by the notary, a line feed, and the event exactly as it arrived. The Trail-Signature in
that line is Ed25519 over the event, in DSSE v1 encoding with the type application/cloudevents+json.

The checkpoint:

$checkpoint""")

_TOLD: Final = (
    "The entries of this bundle in words, made for reading. What counts are the entries themselves: check them "
    "with <code>python3 verify.py</code> or <code>verify.html</code>, and compare the leaf hash of any entry."
)
_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-top: 1px solid #8886; padding: .35rem .6rem .35rem 0; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; }
th { white-space: nowrap; }
tr.refused td:first-child { border-left: .25rem solid #c33; padding-left: .4rem; }
small { opacity: .75; }
code { font-size: .8em; }
.time { white-space: nowrap; }
p.valid, p.superseded, p.taken_back { border-left: .25rem solid #393; margin: .3rem 0; padding-left: .4rem; }
p.superseded, p.taken_back { border-color: #c33; }
@media print { body { font-size: 9pt; max-width: none; margin: 0; } tr { break-inside: avoid; }
  thead { display: table-header-group; } }
"""


def readme(cover: Cover) -> str:
    """README.txt: what a bundle is and how to check it, in a page."""
    return _README.substitute(
        trial=cover.trial,
        what=cover.what,
        log_key=cover.log_key,
        proves="\n".join(f"  - {one}" for one in cover.proves),
        lacks="\n".join(f"  - {one}" for one in cover.does_not_prove),
        checkpoint=cover.checkpoint,
    )


def record(
    cover: Cover,
    entries: Iterable[Entry],
    identities: Mapping[str, Mapping[str, Any]],
    destroyed: Destroyed,
    book: Book,
) -> Iterator[bytes]:
    """RECORD.html, in parts: one row an entry. Static, without a script; every text in it is escaped.

    ``identities`` says by key id who holds a key (``holder``, ``roles``), as in identities.json. Private texts are
    not in it even where their keys are at hand: a bundle leaves the house, and no erasure reaches it there.
    ``book`` are the signatures as they stand at the checkpoint, told with what they bind and on their own.
    """
    reader = Reader(destroyed)
    head = [
        "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>Record of trial {_escaped(cover.trial)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
        f"<h1>Trial {_escaped(cover.trial)}: {_escaped(cover.what)}</h1>",
        f"<p>{_TOLD}</p>",
        *_listed("When everything in this bundle holds, it proves", cover.proves),
        *_listed("It does not prove", cover.does_not_prove),
        f"<h2>Checkpoint</h2>\n<pre>{_escaped(cover.checkpoint)}</pre>\n<h2>Entries</h2>\n<table>\n<thead><tr>",
        "<th>Entry</th><th>Sealed at (UTC)</th><th>From, about</th><th>What it says</th><th>Signed by</th>",
        "</tr></thead>\n<tbody>\n",
    ]
    yield "\n".join(head).encode()
    for entry in entries:
        yield _row(entry, identities, reader, book)
    yield b"</tbody>\n</table>\n</body>\n</html>\n"


def _listed(title: str, sentences: Sequence[str]) -> list[str]:
    items = "\n".join(f"<li>{_escaped(one)}</li>" for one in sentences)
    return [f"<h2>{_escaped(title)}</h2>\n<ul>\n{items}\n</ul>"]


def _row(entry: Entry, identities: Mapping[str, Mapping[str, Any]], reader: Reader, book: Book) -> bytes:
    head = entry.header
    ruling = "admitted" if entry.admitted else f"<b>refused: {_escaped(head.reason)}</b>"
    source, type_, about = _named(entry)
    event = _event(entry)
    says = _escaped(in_words(event, reader)) if event is not None else f"<small>{_escaped(_quoted(entry))}</small>"
    holder, roles = _holder(identities.get(head.key))
    by = f"{_escaped(holder)}<br><small>{_escaped(roles)}</small>"
    if not entry.admitted:
        by = f"<small>the message named the key of {_escaped(holder)}</small>"
    cells = [
        f"<td>{entry.index}</td>",
        f"<td class='time'>{head.sealed_at[:10]}<br>{head.sealed_at[11:-1]}</td>",
        f"<td>{_escaped(source)}<br>{_escaped(about)}</td>",
        f"<td><small>{_escaped(type_)}, </small>{ruling}<br>{says}",
        *(_signature(one) for one in (*book.on(entry.index), *book.at(entry.index))),
        f"<br><code>leaf hash {entry.leaf.hex()}</code></td>",
        f"<td>{by}<br><code>{_escaped(head.key)}</code></td>",
    ]
    return f"<tr class='{head.verdict}'>{''.join(cells)}</tr>\n".encode(errors="replace")


def _signature(one: Signature) -> str:
    """A signature's manifestation (21 CFR 11.50(b))."""
    return f"<p class='{one.status}'>{'<br>'.join(map(_escaped, manifestation(one)))}</p>"


def _event(entry: Entry) -> SealedEvent | None:
    """The event of an admitted entry, if it is one that this program knows."""
    try:
        return read_event(entry)
    except (RefusedError, KeyError):
        return None


def _holder(identity: Mapping[str, Any] | None) -> tuple[str, str]:
    return ("nobody known here", "") if identity is None else (identity["holder"], ", ".join(identity["roles"]))


def _named(entry: Entry) -> tuple[str, str, str]:
    """Source, type and participant as the event itself has them; what the broker said where it cannot be read."""
    try:
        envelope = read_envelope(entry.body)
    except RefusedError:
        return entry.header.subject, "not an event", ""
    return envelope.source, short_type(envelope.type), envelope.subject or ""


def _quoted(entry: Entry) -> str:
    text = entry.body[: 4 * _LONGEST_QUOTE].decode(errors="replace")
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + " ..."


def _escaped(text: str) -> str:
    """A text for the page, with nothing in it that a browser obeys or that would turn a sentence around."""
    return escape("".join(one if one.isprintable() or one == "\n" else "\ufffd" for one in text))
