"""The tables of a study: which columns are needed, and their rows as text."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from shared.words import TrailError

SAS_RECORD_BYTES: Final = 80  # a transport file is a whole number of these (SAS TS-140)

Table = Mapping[str, Sequence[str | float | None]]
"""One domain: column name to its cells, row by row."""

Row = Mapping[str, str]
"""One row: column name to its text, blank where the cell is empty or an optional column is not there."""

REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "DM": ("USUBJID", "SITEID", "SEX", "AGE", "DMDTC", "RFXSTDTC"),
    "VS": ("USUBJID", "VSTESTCD", "VSORRES", "VSORRESU", "VSDTC"),
    "LB": ("USUBJID", "LBTESTCD", "LBORRES", "LBORRESU", "LBORNRLO", "LBORNRHI", "LBDTC"),
    "EG": ("USUBJID", "EGTESTCD", "EGORRES", "EGORRESU", "EGDTC"),
    "MH": ("USUBJID", "MHTERM", "MHDTC"),
    "EX": ("USUBJID", "EXTRT", "EXDOSE", "EXDOSU", "EXSTDTC", "EXENDTC"),
    "AE": ("USUBJID", "AESEQ", "AETERM", "AESTDTC", "AESER"),
    "DS": ("USUBJID", "DSDECOD", "DSDTC"),
}
_SERIOUS: Final = ("AESDTH", "AESLIFE", "AESHOSP", "AESDISAB", "AESCONG", "AESMIE", "AESCAN", "AESOD")
_OPTIONAL: Final[Mapping[str, tuple[str, ...]]] = {
    "DM": ("BRTHDTC", "RFICDTC", "AGEU", "ARMCD", "ACTARMCD", "DTHDTC", "DTHFL"),
    "VS": ("VSSTAT", "VSTPT"),
    "LB": ("LBSTAT", "LBCAT", "LBSPEC"),
    "EG": ("EGSTAT", "EGTPT"),
    "MH": ("MHCAT", "MHBODSYS", "MHSTDTC", "MHENDTC", "MHOCCUR", "MHSTAT"),
    "EX": ("EXOCCUR",),
    "AE": ("AEDECOD", "AEBODSYS", "AEENDTC", "AEDTC", "AESEV", "AEREL", "AEOUT", *_SERIOUS),
    "DS": ("DSTERM", "DSCAT", "DSSCAT", "DSSTDTC"),
}


def read_tables(directory: Path) -> dict[str, Table]:
    """Read a study's tables, by domain, from a directory of ``.xpt`` files.

    Raises TrailError, naming the file, when the directory or ``dm.xpt`` is missing, or a file is no SAS transport
    file or is cut short.
    """
    if not directory.is_dir():
        raise TrailError(f"{directory} is not a directory; name the one that holds the study's .xpt files")
    files = {path.name.lower(): path for path in sorted(directory.iterdir())}
    if "dm.xpt" not in files:
        raise TrailError(f"{directory} holds no dm.xpt (the participants); name a directory of SDTM tables")
    return {domain: _read(files[name]) for domain in REQUIRED if (name := f"{domain.lower()}.xpt") in files}


def rows(domain: str, table: Table) -> Iterator[Row]:
    """Yield a table's rows as text, with every column the mapping knows; an absent optional one is blank.

    Raises TrailError when a column that the mapping needs is not there.
    """
    for column in REQUIRED[domain]:
        if column not in table:
            raise TrailError(
                f"{domain.lower()}.xpt has no column {column}, which the import needs; "
                f"export {domain} with its SDTM columns"
            )
    columns = [name for name in (*REQUIRED[domain], *_OPTIONAL[domain]) if name in table]
    absent = dict.fromkeys(_OPTIONAL[domain], "")
    for cells in zip(*(table[name] for name in columns), strict=True):
        yield absent | dict(zip(columns, map(_text, cells), strict=True))


def number(text: str) -> tuple[str, Decimal] | None:
    """Read a result such as ``0.9`` or ``<0.2``: its comparator ("" for none) and its exact number."""
    digits = text.lstrip("<>=")
    comparator = text.removesuffix(digits)
    try:
        value = Decimal(digits.strip())
    except InvalidOperation:
        return None
    return (comparator, value) if value.is_finite() and comparator in ("", "<", "<=", ">", ">=") else None


def _read(path: Path) -> Table:
    import pyreadstat

    if path.stat().st_size % SAS_RECORD_BYTES:
        # ReadStat returns the rows before the cut without a word.
        raise TrailError(f"{path} is no SAS transport file or is cut short; copy it again from its source")
    try:
        table, _ = pyreadstat.read_xport(path, output_format="dict", disable_datetime_conversion=True)
    except (pyreadstat.ReadstatError, pyreadstat.PyreadstatError, OSError, ValueError) as error:
        raise TrailError(f"{path} cannot be read as a SAS transport file ({error}); export it again") from None
    return dict(table)


def _text(cell: str | float | None) -> str:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell.strip()
    return str(int(cell)) if float(cell).is_integer() else repr(cell)
