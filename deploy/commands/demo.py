"""`afkobling demo`: a living factory on the local stack, from meters to a verdict."""

from __future__ import annotations

import argparse


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("demo", help="a living factory on the local stack, from meters to a verdict")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    raise NotImplementedError
