# SPDX-License-Identifier: Apache-2.0
"""A site of static pages made from a history, for readers without this program: `write_site` makes the directory.

`window.py` looks at the last nights, `facts.py` says what the pages say, `data.py` writes what their scripts read,
`pages.py` renders. Look, list, heat maps and the sheet of a cell are those of `report.html` (`harness.report.page`).
"""

from migmatrix.harness.site.write import write_site

__all__ = ["write_site"]
