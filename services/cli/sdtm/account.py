"""What an import does not take over, and why: counted, never dropped without a word."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unmapped:
    """What became no event: in which domain, what it holds, why, how many, and a few of them."""

    domain: str
    what: str
    why: str
    count: int
    examples: tuple[str, ...]


class Account:
    """A count by domain, what and why."""

    def __init__(self) -> None:
        self._left: dict[tuple[str, str, str], tuple[int, tuple[str, ...]]] = {}

    def leave(self, domain: str, what: str, why: str, example: str) -> None:
        """Count one more."""
        count, examples = self._left.get((domain, what, why), (0, ()))
        shown = examples if len(examples) == 3 else (*examples, example)
        self._left[domain, what, why] = (count + 1, shown)

    def lines(self) -> list[Unmapped]:
        """Everything that was counted, in order of domain, what and why."""
        return [Unmapped(*key, *tally) for key, tally in sorted(self._left.items())]
