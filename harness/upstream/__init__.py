# SPDX-License-Identifier: Apache-2.0
"""What a maintainer of QEMU wants to read of one failure; start from `report.make_report`.

`finding` says which failure is meant, `facts` runs it and all that is asked about it, `shown` runs the script without
migmatrix, `sections` and `layouts` look into the streams, `page` writes it down as a `document`, and `render` turns that
into text and Markdown. What explains is `harness.explain`; nothing here concludes anything.
"""
