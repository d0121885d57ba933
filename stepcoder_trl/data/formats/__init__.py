"""
Readers for the formats in which datasets are published, one file per family.

To add a format, write a reader and its entry in a file of this package, and add the entry to the table `FORMATS` in
`table.py`. Help texts, error messages and the table in `docs/data.md` come from there.
"""

from stepcoder_trl.data.formats.common import Format, LeftOut
from stepcoder_trl.data.formats.loading import RawRow, load_problems, read_raw_rows, read_sources
from stepcoder_trl.data.formats.table import FORMAT_TITLES, FORMATS


__all__ = ["FORMATS", "FORMAT_TITLES", "Format", "LeftOut", "RawRow", "load_problems", "read_raw_rows", "read_sources"]
