# SPDX-License-Identifier: Apache-2.0
"""The leg store: evidence is complete or absent, a stream is what its evidence says, and nothing bad is trusted."""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.errors import StoreError, UserError
from migmatrix.harness.model import LegEvidence, Stage, StageEvidence, StreamInfo
from migmatrix.harness.store import LegStore, RunStore, StreamCache, default_store
from migmatrix.harness.store.legs import EVIDENCE

if TYPE_CHECKING:
    from pathlib import Path

KEY, OTHER = "ab" * 32, "cd" * 32
STREAM = b"QEVM" + bytes(100_000)


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, log: list[str]) -> LegStore:
    return LegStore(tmp_path / "store", log.append)


def evidence(key: str = KEY, stream: bytes | None = None) -> LegEvidence:
    info = StreamInfo(hashlib.sha256(stream).hexdigest(), len(stream)) if stream is not None else None
    return LegEvidence(key, (StageEvidence(Stage.START, 0.1),), (), info)


def put(store: LegStore, tmp_path: Path, key: str = KEY, stream: bytes = STREAM) -> LegEvidence:
    source = tmp_path / "source"
    source.write_bytes(stream)
    made = evidence(key, stream)
    store.put(made, source)
    return made


def entry(tmp_path: Path, key: str = KEY) -> Path:
    return tmp_path / "store" / "hops" / key[:2] / key


def test_a_leg_is_found_again_with_its_stream(store: LegStore, tmp_path: Path) -> None:
    assert store.get(KEY) is None
    made = put(store, tmp_path)
    assert store.get(KEY) == made
    assert store.has_stream(KEY)
    assert store.fetch_stream(made, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == STREAM
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600  # only the harness reads it
    assert sorted(p.name for p in entry(tmp_path).iterdir()) == ["evidence.json", "stream.zst"]


def test_a_leg_without_a_stream_has_none(store: LegStore, tmp_path: Path) -> None:
    store.put(evidence(), None)
    assert store.get(KEY) == evidence()
    assert not store.has_stream(KEY)
    assert not store.fetch_stream(evidence(), tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "why"),
    [(b"{", "evidence is damaged"), (b"", "evidence is damaged"), (None, "evidence belongs to another leg")],
)
def test_bad_evidence_is_set_aside_and_said(
    store: LegStore, tmp_path: Path, log: list[str], text: bytes | None, why: str
) -> None:
    put(store, tmp_path, OTHER)
    put(store, tmp_path)
    found = entry(tmp_path, OTHER) / "evidence.json"
    (entry(tmp_path) / "evidence.json").write_bytes(found.read_bytes() if text is None else text)
    assert store.get(KEY) is None
    assert why in log[0]
    assert not store.has_stream(KEY)
    (grave,) = (tmp_path / "store" / "bad").iterdir()
    assert sorted(p.name for p in grave.iterdir()) == ["evidence.json", "stream.zst"]
    assert store.get(OTHER) is not None


def test_no_flipped_bit_of_evidence_is_believed(store: LegStore, tmp_path: Path) -> None:
    store.put(evidence(), None)
    whole = (entry(tmp_path) / "evidence.json").read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        (entry(tmp_path) / "evidence.json").write_bytes(damaged)
        assert store.get(KEY) is None, place


def test_evidence_of_before_there_were_check_sums_is_read(store: LegStore, tmp_path: Path) -> None:
    entry(tmp_path).mkdir(parents=True)
    (entry(tmp_path) / "evidence.json").write_bytes(EVIDENCE.dump_json(evidence()))
    assert store.get(KEY) == evidence()


def in_place(path: Path, kind: str) -> None:
    """Put something that is no plain file where `path` is, with the same content where that can be."""
    moved = path.with_name("moved")
    path.rename(moved)
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
            moved.rename(path / moved.name)
        case "link":
            path.symlink_to(moved)
        case "dangling":
            path.symlink_to("nowhere")


@pytest.mark.parametrize("kind", ["fifo", "directory", "link", "dangling"])
@pytest.mark.parametrize("name", ["evidence.json", "stream.zst", "lock", ""])
def test_what_is_no_plain_file_counts_as_absent_and_is_made_again(
    store: LegStore, tmp_path: Path, kind: str, name: str
) -> None:
    async def claim() -> None:
        async with store.claim(KEY):
            pass

    made = put(store, tmp_path)
    asyncio.run(claim())
    if name == "lock":
        (entry(tmp_path) / name).touch()  # filelock 3.25 removes it when it is released
    in_place(entry(tmp_path) / name, kind)

    asyncio.run(claim())
    read = store.get(KEY)
    fetched = store.fetch_stream(made, tmp_path / "out")
    put(store, tmp_path)

    assert (read is None) == (name in ("evidence.json", ""))
    assert fetched == (name == "lock")
    assert store.get(KEY) == made
    assert store.fetch_stream(made, tmp_path / "again")
    assert store.evict(0) > 0


@pytest.mark.parametrize("cut", [10, 0])
def test_a_damaged_stream_is_set_aside_and_not_handed_out(
    store: LegStore, tmp_path: Path, log: list[str], cut: int
) -> None:
    made = put(store, tmp_path)
    path = entry(tmp_path) / "stream.zst"
    path.write_bytes(path.read_bytes()[:cut])
    assert not store.fetch_stream(made, tmp_path / "out")
    assert "stream is damaged" in log[0]
    assert not (tmp_path / "out").exists()
    assert store.get(KEY) is None


def test_a_stream_of_another_leg_is_not_handed_out(store: LegStore, tmp_path: Path, log: list[str]) -> None:
    made = put(store, tmp_path)
    put(store, tmp_path, OTHER, b"other")
    (entry(tmp_path) / "stream.zst").write_bytes((entry(tmp_path, OTHER) / "stream.zst").read_bytes())
    assert not store.fetch_stream(made, tmp_path / "out")
    assert "its checksum differs" in log[0]


def test_what_cannot_be_stored_leaves_nothing(store: LegStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot store a leg: No such file or directory"):
        store.put(evidence(stream=STREAM), tmp_path / "none")
    assert list(entry(tmp_path).iterdir()) == []


def test_eviction_takes_streams_by_last_use_and_leaves_evidence(store: LegStore, tmp_path: Path) -> None:
    first, second = put(store, tmp_path), put(store, tmp_path, OTHER)
    assert store.fetch_stream(first, tmp_path / "out")  # the second is the least recently used now
    size = (entry(tmp_path) / "stream.zst").stat().st_size
    assert store.evict(size) == size
    assert (store.has_stream(KEY), store.has_stream(OTHER)) == (True, False)
    assert store.evict(size) == 0
    assert store.get(OTHER) == second


def test_a_stream_is_exported_once(store: LegStore, tmp_path: Path) -> None:
    put(store, tmp_path)
    target = tmp_path / "run" / "stream.zst"
    store.export_stream(OTHER, target)
    assert not target.exists()
    store.export_stream(KEY, target)
    store.export_stream(KEY, target)
    assert target.read_bytes() == (entry(tmp_path) / "stream.zst").read_bytes()


def test_a_leg_is_claimed_by_one_at_a_time(store: LegStore) -> None:
    order: list[str] = []

    async def work(name: str, held: asyncio.Event, release: asyncio.Event) -> None:
        async with store.claim(KEY):
            order.append(name)
            held.set()
            await release.wait()
            order.append(f"{name} done")

    async def both() -> None:
        held, release, late = asyncio.Event(), asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(work("first", held, release))
        await held.wait()
        second = asyncio.create_task(work("second", late, release))
        async with store.claim(OTHER):  # another leg is nobody's concern
            assert order == ["first"]
        release.set()
        await asyncio.gather(first, second)

    asyncio.run(both())
    assert order == ["first", "first done", "second", "second done"]


def test_a_store_that_cannot_be_written_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to the store .*: Not a directory"):
        LegStore(tmp_path / "file", pytest.fail)


def test_a_path_that_is_no_text_is_the_users_mistake(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff")
    with pytest.raises(UserError, match="its path is not UTF-8"):
        LegStore(odd, print)
    with pytest.raises(UserError, match="its path is not UTF-8"):
        RunStore.create(odd, "digest")
    assert list(tmp_path.iterdir()) == []


def test_the_default_store_is_in_the_cache_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_store() == tmp_path / "migmatrix"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_store() == tmp_path / ".cache" / "migmatrix"


def test_the_stream_cache_drops_what_was_used_longest_ago_but_for_pinned_ones(tmp_path: Path) -> None:
    cache = StreamCache(tmp_path, 10)
    for key in ("a", "b", "c"):
        cache.path(key).write_bytes(bytes(4))
    cache.add("a")
    cache.add("b")
    with cache.pinned("a") as path:
        cache.add("c")
        assert path.exists()
    assert [key in cache for key in ("a", "b", "c")] == [True, False, True]
    assert not cache.path("b").exists()
    assert cache.draft("d") != cache.path("d")
