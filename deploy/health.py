"""Says whether a part of the stack does its work; exit code 0 when it does, 1 with a sentence when not.

``health.py broker`` asks whether JetStream has recovered all its streams; ``health.py witness`` whether the witness
answers from its memory; ``health.py notary``, ``health.py screening`` and ``health.py safety`` ask whether that
consumer's messages are being dealt with. A service whose consumer was deleted, or whose loop hangs, keeps its
connection and answers every ping; its messages tell the truth.

Standard library only: it runs every few seconds, and importing a client would cost more than asking.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import Any, Final

MONITOR: Final = os.environ.get("TRAIL_MONITOR", "http://127.0.0.1:8222")
WITNESS: Final = "http://127.0.0.1:7380"
PATIENCE: Final = 4.0  # a batch of 500 takes a tenth of this to seal


def ask(path: str) -> dict[str, Any]:
    """An answer of the broker's monitor."""
    with urllib.request.urlopen(MONITOR + path, timeout=2) as answer:  # noqa: S310 - our own configured address
        found: dict[str, Any] = json.load(answer)
    return found


def broker_fault() -> str:
    """What is wrong with the broker; empty when JetStream answers for all its streams."""
    status = ask("/healthz")["status"]
    return "" if status == "ok" else f"the broker says {status}"


def witness_fault() -> str:
    """What is wrong with the witness of this container; empty when it says that it is well."""
    with urllib.request.urlopen(WITNESS + "/health", timeout=2) as answer:  # noqa: S310 - our own address
        status = json.load(answer)["status"]
    return "" if status == "well" else f"the witness says {status}"


def consumer(name: str) -> dict[str, Any] | None:
    """The state of a consumer, whichever stream it reads; None when there is none of that name."""
    accounts = ask("/jsz?accounts=true&streams=true&consumers=true").get("account_details") or []
    streams = (stream for account in accounts for stream in account.get("stream_detail") or [])
    consumers = (one for stream in streams for one in stream.get("consumer_detail") or [])
    return next((one for one in consumers if one["name"] == name), None)


def fault_of(name: str) -> str:
    """What is wrong with a consumer's service; empty when nothing is.

    With messages waiting, the service is well when it gets on with them; with none, when it asks for more.
    """
    deadline = time.monotonic() + PATIENCE
    before: int | None = None
    while True:
        now = consumer(name)
        if now is None:
            return f"the broker knows no consumer {name}"
        behind = now["num_pending"] + now["num_ack_pending"]
        done = now["ack_floor"]["consumer_seq"]
        if behind == 0 and now["num_waiting"] > 0:
            return ""
        if before is not None and done > before:
            return ""
        before = done if before is None else before
        if time.monotonic() > deadline:
            return f"{name} is {behind} messages behind and does not get on" if behind else f"{name} has gone"
        time.sleep(0.05)


def main() -> int:
    """Look once, and say what was found."""
    part = sys.argv[1]
    try:
        match part:
            case "broker":
                fault = broker_fault()
            case "witness":
                fault = witness_fault()
            case _:
                fault = fault_of(part)
    except (OSError, ValueError, KeyError) as error:
        asked = f"the witness at {WITNESS}" if part == "witness" else f"the broker's monitor at {MONITOR}"
        fault = f"{asked} does not answer ({error})"
    print(fault or f"{part} is well")  # noqa: T201 - what `docker inspect` shows
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main())
