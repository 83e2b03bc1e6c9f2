"""What a person calls a sweep: given at any time, taken back to the name that is made from its settings."""

import sqlalchemy as sa

from werank_core.names import made_name, one_line
from werank_core.store.errors import StoreError
from werank_core.store.listings import sweep_spec
from werank_core.store.schema import Store, sweep
from werank_core.sweeps import MAX_NAME


def rename_sweep(store: Store, sweep_id: str, name: str) -> str:
    """Give the sweep another name, in one line; without one, the made name again. Returns the name it has now.

    Raises:
        StoreError: one sentence, when there is no such sweep or the name is too long.
    """
    given = one_line(name)
    if len(given) > MAX_NAME:
        raise StoreError(f"A name has at most {MAX_NAME} characters; this one has {len(given)}.")
    new = given or made_name(sweep_spec(store, sweep_id))
    with store.writing() as connection:
        renamed = connection.execute(sa.update(sweep).where(sweep.c.id == sweep_id).values(name=new))
        if not renamed.rowcount:
            raise StoreError(f"There is no sweep {sweep_id!r} in this store.")
    return new
