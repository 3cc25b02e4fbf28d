"""A model hub on this machine, as far as reading a model's facts needs one."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    """One model. The codes are what the hub answers: 200, or an HTTP error and its X-Error-Code."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    info: tuple[int, str] = (200, "")  # asked what the model is
    file: tuple[int, str] = (200, "")  # asked for a file
    ranges: bool = True  # whether it honours Range


@dataclass
class Hub:
    """The running hub: its address, and every answer it gave."""

    endpoint: str
    models: Mapping[str, Repository]
    answers: list[tuple[str, int, int]] = field(default_factory=list)  # path, status, bytes sent

    @property
    def sent(self) -> int:
        return sum(answer[2] for answer in self.answers)


@contextmanager
def serve_hub(models: Mapping[str, Repository]) -> Iterator[Hub]:
    """A hub with these models on a free port, until the block ends."""
    hub = Hub("", models)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, code, body = _answer(hub, self.path, self.headers.get("Range"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if code:
                self.send_header("X-Error-Code", code)
            self.end_headers()
            sent = 0
            try:
                for start in range(0, len(body), 65_536):
                    sent += self.wfile.write(body[start : start + 65_536])
            except OSError:  # the reader has enough
                pass
            hub.answers.append((unquote(urlsplit(self.path).path), status, sent))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(hub: Hub, path: str, wanted: str | None) -> tuple[int, str, bytes]:
    """Status, X-Error-Code and body."""
    plain = unquote(urlsplit(path).path)
    if match := re.fullmatch(r"/api/models/(.+?)(?:/revision/(.+))?", plain):
        repository = hub.models.get(match[1])
        if repository is None:
            return 404, "RepoNotFound", b""
        if repository.info[0] != 200:
            return *repository.info, b""
        if match[2] not in (None, "main", "v1", COMMIT):
            return 404, "RevisionNotFound", b""
        siblings = [{"rfilename": n, "size": len(c)} for n, c in repository.files.items()]
        about = {"id": match[1], "sha": COMMIT, "siblings": siblings}
        return 200, "", json.dumps(about).encode()
    if match := re.fullmatch(rf"/(.+)/resolve/{COMMIT}/(.+)", plain):
        repository = hub.models[match[1]]
        if repository.file[0] != 200:
            return *repository.file, b""
        content = repository.files[match[2]]
        if wanted and repository.ranges:
            first, last = wanted.removeprefix("bytes=").split("-")
            return 206, "", content[int(first) : int(last) + 1]
        return 200, "", content
    return 404, "", b""
