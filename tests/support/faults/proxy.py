"""A proxy between the job and an S3 server, which does to requests what failing networks and servers do."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

# The faults of a request. In the first group the request never reaches the server; in the second it does.
REFUSED = ("reset", "stall", "hang up", "503 SlowDown", "500 InternalError")
ANSWERED = ("lost answer", "cut headers", "cut before length", "cut body", "delay")
FAULTS = REFUSED + ANSWERED

_LINGER_NOT = struct.pack("ii", 1, 0)  # close with RST


@dataclass(frozen=True)
class Request:
    """One request as the proxy saw it; `attempt` counts those with the same method and path, from 1. The names of the
    headers are in small letters."""

    method: str
    path: str
    attempt: int
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)


Choose = Callable[[Request], str | None]
Watch = Callable[[Request], bool]


@dataclass(frozen=True)
class Answer:
    """The server's answer."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    data: bytes


Alter = Callable[[Request, Answer], Answer]


def _nothing(_request: Request) -> None:
    return None


def _on(_request: Request) -> bool:
    return True


def _as_it_is(_request: Request, answer: Answer) -> Answer:
    return answer


def seeded(seed: int, share: float = 0.2, faults: tuple[str, ...] = FAULTS) -> Choose:
    """Return a function that gives this share of requests a fault. It depends on the request, not on the order."""

    def choose(request: Request) -> str | None:
        lot = random.Random(f"{seed} {request.method} {request.path} {request.attempt}")
        return lot.choice(faults) if lot.random() < share else None

    return choose


@dataclass
class Proxy:
    """A running proxy: what it is to do, and what it has seen.

    `choose` names the fault of a request: one of FAULTS, or the status and the code of a refusal, such as "403
    AccessDenied". `before` sees a request when it comes, `after` when the server has answered it; where one returns
    False, the connection is reset without a word. Both may take their time.
    """

    endpoint: str
    upstream: str
    stall_seconds: float
    choose: Choose = _nothing
    before: Watch = _on
    after: Watch = _on
    alter: Alter = _as_it_is
    requests: list[Request] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    stopping: threading.Event = field(default_factory=threading.Event)
    _attempts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[Request, str | None]:
        """Count a request and choose its fault."""
        with self._lock:
            self._attempts[method, path] += 1
            request = Request(method, path, self._attempts[method, path], headers)
            self.requests.append(request)
            fault = self.choose(request)
            if fault is not None:
                self.faults[fault] += 1
        return request, fault


@contextlib.contextmanager
def proxy(upstream: str, stall_seconds: float = 12.0) -> Iterator[Proxy]:
    """A proxy on a free port. A stall is longer than the client waits."""

    class Handler(_Handler):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        state = Proxy(f"http://127.0.0.1:{server.server_port}", upstream, stall_seconds)
        Handler.state = state
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield state
        finally:
            state.stopping.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    """One connection of the client's; each of its requests gets a connection of its own to the server."""

    state: Proxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Serve until the client goes away: it may have been killed, or may have waited long enough."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, *_arguments: object) -> None:
        """Print nothing on the terminal."""

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        state = self.state
        headers = {name.lower(): value for name, value in self.headers.items()}
        request, fault = state.note(self.command, self.path, headers)
        if not state.before(request) or fault == "reset":
            return self._reset()
        match fault:
            case "stall":
                state.stopping.wait(state.stall_seconds)
                return self._reset()
            case "hang up":
                state.stopping.wait(state.stall_seconds / 20)
                return self._reset()
            case str() if fault[0].isdigit():
                return self._refuse(*fault.split())
            case "delay":
                time.sleep(random.Random(self.path).uniform(0.05, 0.3))
        answer = state.alter(request, self._ask(body))
        if not state.after(request) or fault == "lost answer":
            return self._reset()
        lines = [f"HTTP/1.1 {answer.status} {answer.reason}", *map(": ".join, answer.headers), "", ""]
        head, data = "\r\n".join(lines).encode("latin-1"), answer.data
        if fault == "cut headers" or (fault == "cut body" and not data):
            self.wfile.write(head[: head.lower().rfind(b"\netag:")])  # without one: all but the last byte
            return self._hang_up()
        if fault == "cut before length":
            self.wfile.write(head[: head.rindex(b"Content-Length")])
            return self._hang_up()
        if fault == "cut body":
            self.wfile.write(head + data[: len(data) // 2])
            return self._hang_up()
        self.wfile.write(head + data)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass_on

    def _ask(self, body: bytes) -> Answer:
        """The server's answer. Everything is passed on as it is: the signature covers path, Host and more."""
        upstream = http.client.HTTPConnection(urlsplit(self.state.upstream).netloc)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    upstream.putheader(name, value)
            upstream.endheaders(body or None)
            return _read(upstream)
        finally:
            upstream.close()

    def _refuse(self, status: str, code: str) -> None:
        """Answer with an error as S3 does."""
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>no</Message></Error>'
        data = b"" if self.command == "HEAD" else text.encode()
        head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(data)}\r\n\r\n"
        self.wfile.write(head.encode() + data)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self.connection.close()


def _read(upstream: http.client.HTTPConnection) -> Answer:
    response = upstream.getresponse()
    data = response.read()
    hop = ("transfer-encoding", "connection", "content-length")
    headers = [(name, value) for name, value in response.getheaders() if name.lower() not in hop]
    headers.sort(key=lambda header: header[0].lower() == "etag")  # as S3 does: the ETag, and later the length
    headers.append(("Content-Length", response.headers.get("Content-Length") or str(len(data))))
    return Answer(response.status, response.reason, tuple(headers), data)
