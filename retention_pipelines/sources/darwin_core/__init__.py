"""Darwin Core: archives, event cores without a descriptor, and flat text.

`archive.py` reads several files that belong together, `flat.py` one; `terms.py` names the columns, `parts.py` loads
them, `records.py` turns them into staging tables, `metadata.py` reads the licence and the citation.
"""

from retention_pipelines.sources.darwin_core.archive import ArchiveReader
from retention_pipelines.sources.darwin_core.flat import TextReader

__all__ = ["ArchiveReader", "TextReader"]
