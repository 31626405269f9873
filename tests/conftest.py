"""What holds for every test: its marks for 21 CFR Part 11 name clauses that there are."""

from tests.part11.marks import pytest_collection_modifyitems

__all__ = ["pytest_collection_modifyitems"]
