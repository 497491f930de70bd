"""Open loop: requests leave on a schedule whatever comes back, and each is timed from when it *should* have left.

A caller that waits for a slow answer asks less often just then, which hides the slow moments; a schedule does not.
Bytes are prepared and sockets kept open. The generator runs in a process of its own, whose event loop sleeps in
``select``, the one call with a resolution finer than a millisecond.

gRPC is spoken as bare HTTP/2 frames: every request is the same two frames but for the stream's number, every answer
ends with the flag that ends its stream, and nothing else matters here. A client library would cost more than servers.
"""

import asyncio
import contextlib
import multiprocessing
import selectors
import struct
from collections import deque
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from urllib.parse import urlsplit

import numpy as np

from loadtest.serve.closed_loop import Target

CONNECTIONS = 64
ANSWER_TIMEOUT_S = 10.0
HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
END_STREAM = ACK = 1
END_HEADERS = 4
LARGEST_WINDOW = 2**31 - 1
FIRST_WINDOW = 65535
Done = Callable[[bool], None]


def http2_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame (RFC 9113, 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def header(name: str, value: str) -> bytes:
    """A header field, literal and never remembered (RFC 7541, 6.2.2); both parts under 127 bytes."""
    return b"\0" + b"".join(bytes([len(part)]) + part.encode() for part in (name, value))


class GrpcConnection(asyncio.Protocol):
    """Any number of unary calls over one connection."""

    def __init__(self, target: Target) -> None:
        url = urlsplit(target.url)
        fields = {":method": "POST", ":scheme": "http", ":path": url.path, ":authority": url.netloc, **target.headers}
        self._headers = b"".join(header(*field) for field in fields.items())
        self._body = target.body
        self._expected = target.answer_bytes
        self._stream = 1
        self._window = FIRST_WINDOW
        self._queue: deque[Done] = deque()
        self._open: dict[int, Done] = {}
        self._received: dict[int, int] = {}
        self._buffer = b""

    @property
    def busy(self) -> bool:
        """A call can always be added."""
        return False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello, with windows so large that answers never wait."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        window = struct.pack(">I", LARGEST_WINDOW - FIRST_WINDOW)
        settings = struct.pack(">HI", 4, LARGEST_WINDOW)
        transport.write(HTTP2_HELLO + http2_frame(SETTINGS, 0, 0, settings) + http2_frame(WINDOW_UPDATE, 0, 0, window))

    def send(self, done: Done) -> None:
        """Make a call, once the server's window has room for it."""
        self._queue.append(done)
        self._flush()

    def _flush(self) -> None:
        while self._queue and self._window >= len(self._body):
            self._window -= len(self._body)
            self._open[self._stream] = self._queue.popleft()
            self.transport.write(
                http2_frame(HEADERS, END_HEADERS, self._stream, self._headers)
                + http2_frame(DATA, END_STREAM, self._stream, self._body)
            )
            self._stream += 2

    def data_received(self, data: bytes) -> None:
        """Take whole frames off the buffer."""
        self._buffer += data
        while len(self._buffer) >= 9:
            length = int.from_bytes(self._buffer[:3], "big")
            if len(self._buffer) < 9 + length:
                break
            kind, flags, stream = struct.unpack(">BBI", self._buffer[3:9])
            payload, self._buffer = self._buffer[9 : 9 + length], self._buffer[9 + length :]
            self._take(kind, flags, stream, payload)
        self._flush()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            self.transport.write(http2_frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self.transport.write(http2_frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big")
        elif kind == DATA:
            self._received[stream] = self._received.get(stream, 0) + len(payload)
        if kind in (DATA, HEADERS) and flags & END_STREAM and stream in self._open:
            self._open.pop(stream)(self._received.pop(stream, 0) == self._expected)


class HttpConnection(asyncio.Protocol):
    """One HTTP/1.1 request at a time."""

    def __init__(self, target: Target) -> None:
        url = urlsplit(target.url)
        fields = {"host": url.netloc, "content-length": str(len(target.body)), **target.headers}
        lines = [f"POST {url.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        self._request = "\r\n".join(lines).encode() + b"\r\n\r\n" + target.body
        self._done: Done | None = None
        self._buffer = b""

    @property
    def busy(self) -> bool:
        """Whether its request is still unanswered."""
        return self._done is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, done: Done) -> None:
        """Send the request; the connection must not be busy."""
        self._done = done
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """An answer is whole when its announced length is there."""
        self._buffer += data
        head, mark, body = self._buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(body) >= length and self._done is not None:
            done, self._done, self._buffer = self._done, None, b""
            done(head.startswith(b"HTTP/1.1 200"))


class Generator:
    """Sends to one target over a fixed set of connections; what finds none free waits, and that counts."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connections: list[GrpcConnection | HttpConnection] = []
        self._waiting: deque[Done] = deque()
        self._next = 0

    async def connect(self) -> None:
        """Open all connections."""
        url, loop = urlsplit(self._target.url), asyncio.get_running_loop()
        kind = GrpcConnection if self._target.grpc else HttpConnection
        for _ in range(CONNECTIONS):
            _, connection = await loop.create_connection(lambda: kind(self._target), url.hostname, url.port)
            self._connections.append(connection)

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.transport.close()
        await asyncio.sleep(0)  # the loop closes the sockets in its next round

    def _send(self, done: Done) -> None:
        for _ in self._connections:
            connection = self._connections[self._next]
            self._next = (self._next + 1) % len(self._connections)
            if not connection.busy:
                connection.send(done)
                return
        self._waiting.append(done)

    async def play(self, schedule_s: np.ndarray) -> np.ndarray:
        """Latencies, milliseconds, of requests due at these times; infinite where there was no good answer."""
        loop = asyncio.get_running_loop()
        latencies = np.full(len(schedule_s), np.inf)
        left, finished, began = len(schedule_s), asyncio.Event(), loop.time() + 0.01

        def answered(index: int, good: bool) -> None:
            nonlocal left
            latencies[index] = (loop.time() - began - schedule_s[index]) * 1000 if good else np.inf
            left -= 1
            if left == 0:
                finished.set()
            if self._waiting:
                self._send(self._waiting.popleft())

        for index, due in enumerate(schedule_s):
            wait = began + due - loop.time()
            await asyncio.sleep(max(0.0, wait))
            self._send(lambda good, index=index: answered(index, good))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(finished.wait(), ANSWER_TIMEOUT_S)
        return latencies


def schedule(rate_per_s: float, seconds: float) -> np.ndarray:
    """Times, seconds, at which requests are due: Poisson arrivals, the same ones for every server."""
    gaps = np.random.default_rng(1).exponential(1 / rate_per_s, max(1, int(rate_per_s * seconds)))
    return np.cumsum(gaps)


def play(target: Target, rate_per_s: float, seconds: float) -> np.ndarray:
    """Run the generator in this process, after a short warm-up."""

    async def main() -> np.ndarray:
        generator = Generator(target)
        await generator.connect()
        try:
            await generator.play(schedule(min(rate_per_s, 200), 0.5))
            return await generator.play(schedule(rate_per_s, seconds))
        finally:
            await generator.close()

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        return np.sort(runner.run(main()))


def run(target: Target, rate_per_s: float, seconds: float) -> np.ndarray:
    """Latencies, milliseconds, ascending, of an open loop at this rate."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(play, target, rate_per_s, seconds).result()
