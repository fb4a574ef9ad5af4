# SPDX-License-Identifier: Apache-2.0
"""Takes the place of `typing` in packed emulators: there ``import typing`` loads this module.

`emulator.start.packing` packs it under that name. Importing the real module takes a quarter of the time that an
emulator needs to start, and nothing looks at annotations there. Here is what the emulator uses of `typing` at run
time; any other name comes from the real module, and only the clock shows the difference. An unpacked emulator never
loads this file.
"""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
Any = ClassVar = Final = NoReturn = Self = Unpack = None


class Protocol:
    """A base without meaning of its own."""


class TypedDict(dict):  # type: ignore[type-arg] # stands for all of them
    """A dictionary."""

    def __init_subclass__(cls, *, total: bool = True) -> None:
        """Which keys there are is for type checkers."""


class _TupleMaker(type):
    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
        if not bases:
            return super().__new__(mcs, name, bases, body)
        names = body["__annotations__"]
        assert isinstance(names, dict)  # noqa: S101 - it is the compiler that makes it
        defaults = [body.pop(n) for n in names if n in body]
        # To type checkers a tuple's name and fields are literals.
        fields: type = namedtuple(name, names, defaults=defaults, module=str(body["__module__"]))  # type: ignore[misc]  # noqa: PYI024
        return type(name, (fields,), {**body, "__slots__": ()})


class NamedTuple(metaclass=_TupleMaker):
    """A tuple with names, methods and defaults."""


def TypeVar(name: str, **_: object) -> str:  # noqa: N802 - typing's name
    """Only a name."""
    return name


def runtime_checkable(cls: type) -> type:
    """The class itself: nothing checks instances at run time in a packed emulator."""
    return cls


def dataclass_transform(**_: object) -> object:
    """A decorator that changes nothing, as the real one."""
    return lambda cls: cls


_loaded: list[object] = []  # the real module, once something has asked for it


def __getattr__(name: str) -> object:
    """Everything else, from the real module."""
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(_real(), name)


def _real() -> object:
    """The real `typing`. It is known before its body runs: the body uses `functools`, which asks `typing` (3.12)."""
    if not _loaded:
        import importlib.util  # noqa: PLC0415 - this is the long way, which an emulator does not take

        spec = importlib.util.spec_from_file_location("_typing_", f"{_library()}/typing.py")
        assert spec is not None  # noqa: S101 - a file that exists has one
        assert spec.loader is not None  # noqa: S101 - as above
        real = importlib.util.module_from_spec(spec)
        _loaded.append(real)
        spec.loader.exec_module(real)
    return _loaded[0]


def _library() -> str:
    import os  # noqa: PLC0415 - as above

    return os.path.dirname(os.__file__)  # noqa: PTH120 - pathlib is not for the start
