"""`afkobling edge scan`: which devices answer on a line. Each protocol has a module of its own beside this one."""

from __future__ import annotations

import argparse
import importlib

KINDS = ("edge_scan_mbus", "edge_scan_modbus")
"""Modules beside this one, a protocol each."""


def add(words: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the word and its protocols."""
    scan = words.add_parser(
        "scan",
        help="find the devices on a line",
        description="Find the devices on a line: who answers, and what it seems to be. Only reads.",
    )
    protocols = scan.add_subparsers(title="protocols", metavar="PROTOCOL", required=True)
    for kind in KINDS:
        importlib.import_module(f"deploy.commands.{kind}").add(protocols)
