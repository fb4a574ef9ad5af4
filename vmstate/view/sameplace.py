# SPDX-License-Identifier: Apache-2.0
"""Whether two views are the same bytes of memory, told without reading one of them.

Python tells of a view which object it is of, not where in it; its C interface does.
"""

from __future__ import annotations

import ctypes

__all__ = ["same_place"]


class _View(ctypes.Structure):
    """The begin of `Py_buffer`, and room for the rest. Source: Python's C API, buffer protocol."""

    _fields_ = (("buf", ctypes.c_void_p), ("rest", ctypes.c_byte * 256))


_get = ctypes.pythonapi.PyObject_GetBuffer
_get.argtypes = (ctypes.py_object, ctypes.POINTER(_View), ctypes.c_int)
_release = ctypes.pythonapi.PyBuffer_Release
_release.argtypes, _release.restype = (ctypes.POINTER(_View),), None


def same_place(a: memoryview, b: memoryview) -> bool:
    """True when both views are contiguous, of one length, and begin at the same address."""
    return a.nbytes == b.nbytes and _address(a) == _address(b)


def _address(view: memoryview) -> int | None:
    found = _View()
    _get(view, ctypes.byref(found), 0)  # BufferError for a view with gaps
    try:
        return found.buf  # type: ignore[no-any-return]  # a field of a ctypes structure
    finally:
        _release(ctypes.byref(found))
