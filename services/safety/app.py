"""The safety service. Run as ``python -m services.safety.app``."""

import sys

from services.safety.decide import SafetyDecider
from shared.decider_service import DeciderService
from shared.service import run
from shared.settings import ServiceSettings


def main() -> int:
    """Run until told to stop; 0 when stopped from outside, 2 with a sentence when it could not go on."""
    return run(lambda: DeciderService(SafetyDecider(), "safety", ServiceSettings()))


if __name__ == "__main__":
    sys.exit(main())
