"""verify.html's own code without its page, run by Node.js: what it makes of entries, beside verify.py."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from services.console.bundle import verify
from shared.entry import Entry

NODE = shutil.which("node")
_PAGE = Path(verify.__file__).with_suffix(".html")
_DRIVER = """
const asked = JSON.parse(input);
const bytes = (base64) => new Uint8Array(Buffer.from(base64, "base64"));
(async () => {
  const ledger = new Ledger(asked.trial, asked.origin);
  try {
    for (const [index, raw] of asked.entries) {
      const entry = await readEntry(bytes(raw), index);
      const known = asked.publics[entry.header.key];
      const signed = await isSigned(known && bytes(known), entry.header.sig, entry.body);
      await ledger.take(entry, signed);
    }
    console.log(JSON.stringify({ identities: [...ledger.identities.values()] }));
  } catch (error) {
    if (!(error instanceof Broken)) throw error;
    console.log(JSON.stringify({ broken: error.message }));
  }
})();
"""

# The page has a function of its own by the name of Node.js's require.
_WRAPPED = 'const input = require("fs").readFileSync(0, "utf8"); (() => {{ {} }})()'


def judged_by_page(
    trial: str, origin: str, entries: Iterable[Entry], publics: Mapping[str, bytes]
) -> tuple[str, list[dict[str, Any]]]:
    """What is wrong with the entries (empty: nothing), and the identities that the page has learned from them."""
    assert NODE is not None
    script = _PAGE.read_text("utf-8").partition("<script>")[2].partition("// ---- The page ----")[0]
    asked = {
        "trial": trial,
        "origin": origin,
        "entries": [[entry.index, base64.b64encode(entry.raw).decode()] for entry in entries],
        "publics": {key: base64.b64encode(public).decode() for key, public in publics.items()},
    }
    done = subprocess.run(
        [NODE, "-e", _WRAPPED.format(script + _DRIVER)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return told.get("broken", ""), told.get("identities", [])
