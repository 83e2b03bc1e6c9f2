"""Everything recorded: sweeps, runs, jobs, histories and arrays, in one database that is also the queue."""

from werank_core.store.errors import StoreError, StoreMissing, StoreUnavailable
from werank_core.store.opening import open_store
from werank_core.store.schema import Store

__all__ = ["Store", "StoreError", "StoreMissing", "StoreUnavailable", "open_store"]
