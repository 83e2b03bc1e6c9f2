"""Which supervisors work on a store: each leaves a sign of life."""

import time

import sqlalchemy as sa

from werank_core.store.schema import Store, machine, upsert


def sign_on(store: Store, name: str, slots: int, devices: str, started_at: float) -> None:
    """Say that this supervisor is alive; whoever has not done so for a day is forgotten."""
    now = time.time()
    row = {"name": name, "slots": slots, "devices": devices, "started_at": started_at, "seen_at": now}
    with store.writing(bump=False) as connection:
        connection.execute(upsert(connection.dialect.name, machine), row)
        connection.execute(sa.delete(machine).where(machine.c.seen_at < now - 86_400))


def sign_off(store: Store, name: str) -> None:
    """Say that this supervisor is gone."""
    with store.writing() as connection:
        connection.execute(sa.delete(machine).where(machine.c.name == name))
