# SPDX-License-Identifier: Apache-2.0
"""Migration streams in files: mapped, unpacked, read from their end. `vmstate` knows the rest."""
