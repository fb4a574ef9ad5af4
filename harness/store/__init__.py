"""What is kept: `HopStore` between runs, `RunStore` of one run, `StreamCache` during one."""

from harness.store.hops import HopStore, default_store
from harness.store.runs import Basis, RunStore
from harness.store.streams import StreamCache

__all__ = ["Basis", "HopStore", "RunStore", "StreamCache", "default_store"]
