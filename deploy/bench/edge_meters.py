"""Meters for an agent to read: simulated Modbus devices in a process of their own, each on a port of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from edge.devices.modbus import ModbusBank, TcpModbusDevices
from edge.drivers.modbus.profile import load_modbus_profile

PROFILE, QUANTITY = "eastron-sdm630", "energy-import"
_UP_S = 60


@contextmanager
def simulated_meters(count: int) -> Iterator[list[int]]:
    """The ports of so many meters whose registers rise, until the `with` is left."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(count, sender), daemon=True)
    process.start()
    sender.close()
    try:
        if not receiver.poll(_UP_S):
            raise TimeoutError(f"the simulated meters did not come up in {_UP_S} s")
        yield receiver.recv()
    finally:
        process.terminate()
        process.join(10)


def driver_entries(ports: list[int], *, every: str) -> list[dict[str, Any]]:
    """An agent's drivers in edge.yaml for these meters, whose keys are as `deploy.bench.rows.make_model` has them."""
    return [
        {
            "name": f"meter-{nth}",
            "driver": "modbus",
            "host": "127.0.0.1",
            "port": port,
            "profile": PROFILE,
            "every": every,
            "meters": {f"agent-0-m{nth}": QUANTITY},
        }
        for nth, port in enumerate(ports)
    ]


def _serve(count: int, sender: Connection) -> None:
    asyncio.run(_serve_until_killed(count, sender))


async def _serve_until_killed(count: int, sender: Connection) -> None:
    profile = load_modbus_profile(PROFILE, folder=Path())
    banks = [ModbusBank() for _ in range(count)]
    servers = [TcpModbusDevices(bank) for bank in banks]
    began_s = time.monotonic()

    def rise() -> None:
        for nth, bank in enumerate(banks):
            bank.add(1).show(profile, {QUANTITY: 1_000 * nth + (time.monotonic() - began_s) * (nth + 1) / 100})

    rise()
    for server in servers:
        await server.start()
    sender.send([server.port for server in servers])
    while True:
        await asyncio.sleep(1)
        rise()
