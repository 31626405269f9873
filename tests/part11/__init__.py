"""Which tests show which clause of 21 CFR Part 11: the clauses, the marks of the tests, and the page made of both.

The clauses lie here, beside the tests that name them, because nothing but tests and their page reads them.
"""
