"""A name server for tests: what Kubernetes says of a headless Service, as pods come and go."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseRequestHandler, UDPServer

FOUND, NO_SUCH_NAME = 0x8580, 0x8583
ADDRESS, INTERNET, TTL_S, SAME_NAME = 1, 1, 1, 0xC00C


class Names(UDPServer):
    """One name and the IPv4 addresses that it has now; it does not exist while there are none."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        super().__init__(("127.0.0.1", 0), Answer)

    def target(self, port: int) -> str:
        """What gRPC calls it, to be looked up here."""
        return f"dns://127.0.0.1:{self.server_address[1]}/tritons.test:{port}"


class Answer(BaseRequestHandler):
    """One question."""

    server: Names

    def handle(self) -> None:
        """Answer it."""
        question, connection = self.request
        end = question.index(b"\0", 12) + 5  # behind its name, kind and class
        (kind,) = struct.unpack("!H", question[end - 4 : end - 2])
        known = list(self.server.addresses)
        found = known if kind == ADDRESS else []
        head = question[:2] + struct.pack("!HHHHH", FOUND if known else NO_SUCH_NAME, 1, len(found), 0, 0)
        lead = struct.pack("!HHHIH", SAME_NAME, ADDRESS, INTERNET, TTL_S, 4)
        records = [lead + socket.inet_aton(address) for address in found]
        connection.sendto(head + question[12:end] + b"".join(records), self.client_address)


@contextmanager
def names() -> Iterator[Names]:
    """A name server that runs while the block does."""
    with Names() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        try:
            yield server
        finally:
            server.shutdown()
