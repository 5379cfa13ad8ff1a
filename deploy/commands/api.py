"""`afkobling api run`: serve the API and the page."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deploy.commands.settings import add_server_options

if TYPE_CHECKING:
    from deploy.commands.db import Subparsers

_CLOSE_SECONDS = 5
"""For the connections to the database, of the time that a stop may take."""


def add(subparsers: Subparsers) -> None:
    """Add `api run`."""
    parser = subparsers.add_parser("api", help="the API and the page")
    words = parser.add_subparsers(metavar="WORD", required=True)
    run = words.add_parser("run", help="serve until interrupted")
    run.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    run.add_argument("--port", type=_port, default=8080, help="port to listen on (default: %(default)s)")
    add_server_options(run, "database_url")
    # Of the local stack, these come along; to name them is for the environment.
    run.set_defaults(
        broker_url=None,
        agent_broker_url=None,
        authority_dir=None,
        settings=("database_url", "broker_url", "agent_broker_url", "authority_dir"),
    )
    run.set_defaults(run=_run)


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError("give a port, from 1 to 65535")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    import math
    import signal
    import sys
    from importlib.metadata import version

    import structlog
    import uvicorn

    from api.app import create_app, prepare
    from api.settings import ApiSettings
    from deploy.commands.settings import read_settings
    from deploy.logs import configure_logs
    from deploy.service import stop_seconds

    settings = read_settings(ApiSettings, arguments)
    seconds = stop_seconds()
    # uvicorn raises the signal again once it has shut down in good order; that is an end, not a failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    configure_logs("api")
    log = structlog.get_logger(__name__)
    where = f"http://{arguments.host}:{arguments.port}/"
    log.info("serving the API and the page", action="process.started", url=where, version=version("afkobling"))
    app = create_app(settings)
    prepare(app)
    try:
        uvicorn.run(
            app,
            host=arguments.host,
            port=arguments.port,
            log_config=None,
            access_log=False,
            lifespan="on",
            # Requests that take longer are cut off.
            timeout_graceful_shutdown=max(math.floor(seconds - _CLOSE_SECONDS), 1),
        )
    except SystemExit as ended:
        if ended.code:
            raise
    log.info("stopped in good order", action="process.stopped")
    return 0
