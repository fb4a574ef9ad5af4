# SPDX-License-Identifier: Apache-2.0
"""Virtio: devices (`device` and one module each), the PCI transport that carries them, and their stream format."""
