"""The screening service. Run as ``python -m services.screening.app``."""

import sys

from services.screening.decide import ScreeningDecider
from shared.decider_service import DeciderService
from shared.service import run
from shared.settings import ServiceSettings


def main() -> int:
    """Run until told to stop; 0 when stopped from outside, 2 with a sentence when it could not go on."""
    return run(lambda: DeciderService(ScreeningDecider(), "screening", ServiceSettings()))


if __name__ == "__main__":
    sys.exit(main())
