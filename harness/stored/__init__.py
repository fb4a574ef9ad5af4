# SPDX-License-Identifier: Apache-2.0
"""What is made of a stored run without running anything: its reports, its verdicts judged again, one cell, a merge."""
