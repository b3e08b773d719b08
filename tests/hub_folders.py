"""The Hugging Face hub for tests: its cache laid out as `huggingface_hub` does, and a server on the loopback."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

COMMIT, OLDER = "a" * 40, "b" * 40


def lay_out(cache: Path, name: str, folder: Path, *, commit: str = COMMIT, branch: str = "main") -> Path:
    """Puts the files of `folder` into the cache as the model `name`; returns the folder of its snapshot."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    shutil.copytree(folder, snapshot)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / branch).write_text(commit)
    return snapshot


class Hub:
    """What the server has, and what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        """of the one model org/tiny, by path"""
        self.refusal: tuple[int, str] | None = None
        """(status, the hub's error code) of every answer"""
        self.asked: list[str] = []
        self.url = ""

    @property
    def downloaded(self) -> set[str]:
        return {
            path.partition(f"/resolve/{COMMIT}/")[2]
            for path in self.asked
            if path.startswith("GET") and "/resolve/" in path
        }


@contextlib.contextmanager
def serve() -> Iterator[Hub]:
    """A hub with one model, on this machine."""
    hub = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            path = self.path.partition("?")[0]
            hub.asked.append(f"{self.command} {path}")
            headers, body, status = {}, b"", 200
            file = hub.files.get(path.partition(f"/org/tiny/resolve/{COMMIT}/")[2])
            if hub.refusal:
                status, headers["X-Error-Code"] = hub.refusal
            elif path.startswith("/api/models/org/tiny/tree/"):
                found = [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for name, data in hub.files.items()
                ]
                body = json.dumps(found).encode()
            elif path in ("/api/models/org/tiny", "/api/models/org/tiny/revision/main"):
                body = json.dumps({"id": "org/tiny", "sha": COMMIT}).encode()
            elif path.startswith("/api/models/org/tiny/"):
                status, headers["X-Error-Code"] = 404, "RevisionNotFound"
            elif file is not None:
                body = file
                headers = {"ETag": f'"{hashlib.sha1(file).hexdigest()}"', "X-Repo-Commit": COMMIT}
            else:
                status, headers["X-Error-Code"] = 404, "RepoNotFound"
            self.send_response(status)
            for key, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
