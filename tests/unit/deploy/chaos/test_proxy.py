"""What the proxy does to a connection, and that it says so."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from deploy.chaos.proxy import Proxy

WAIT_S = 30


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says everything again."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(1000):
                    connection.sendall(data)
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield int(server.getsockname()[1])
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(WAIT_S)


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    proxy = Proxy("test", "127.0.0.1", echo).start()
    yield proxy
    proxy.stop()


def connected(proxy: Proxy) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=WAIT_S)
    connection.sendall(b"hello")
    assert connection.recv(5) == b"hello"
    return connection


def is_reset(connection: socket.socket) -> bool:
    try:
        return connection.recv(5) == b""
    except ConnectionError:
        return True


def is_refused(proxy: Proxy) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=WAIT_S) as connection:
            return is_reset(connection)
    except ConnectionError:
        # The reset may come before the client has heard that it is connected.
        return True


def test_it_forwards_and_says_that_nothing_happened(proxy: Proxy):
    with connected(proxy):
        assert proxy.hits == 0


def test_a_connection_that_its_own_end_closes_is_no_hit(proxy: Proxy):
    connected(proxy).close()
    proxy.cut()
    with connected(proxy):
        assert proxy.hits <= 1


def test_cut(proxy: Proxy):
    with connected(proxy) as connection:
        proxy.cut()
        assert is_reset(connection)
        assert proxy.hits == 1
    with connected(proxy):
        assert proxy.hits == 1


def test_to_cut_nobody_off_is_no_hit(proxy: Proxy):
    proxy.cut()
    proxy.vanish()
    assert proxy.hits == 0


def test_refuse_until_healed(proxy: Proxy):
    proxy.cut(refuse=True)
    assert is_refused(proxy)
    assert proxy.hits == 1
    proxy.heal()
    connected(proxy).close()


def test_tear_in_the_midst_of_what_is_said(proxy: Proxy):
    with connected(proxy) as connection:
        proxy.cut_after(3)
        connection.sendall(b"again")
        assert is_reset(connection)
    assert proxy.hits == 1


def test_stall_holds_back_and_heal_lets_go(proxy: Proxy):
    with connected(proxy) as connection:
        proxy.stall()
        connection.sendall(b"again")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(5)
        connection.settimeout(WAIT_S)
        proxy.heal()
        assert connection.recv(5) == b"again"
    assert proxy.hits > 0


def test_delay_lets_everything_through(proxy: Proxy):
    with connected(proxy) as connection:
        proxy.delay(0.05)
        connection.sendall(b"again")
        assert connection.recv(5) == b"again"
    assert proxy.hits >= 2
