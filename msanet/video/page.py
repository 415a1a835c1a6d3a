"""A live view in the browser of this machine."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from msanet.drawing.annotate import draw
from msanet.video.frames import Moment

TIMEOUT = 10.0
"""Seconds after which a browser that sends no request, or takes no picture, is left."""


class Page:
    """A live view in the browser of this machine: a page that shows each frame with what was seen in it.

    It can be reached from this machine only, at an address that nobody can guess: other pages open in the same browser
    must not see the camera. Nothing is drawn while nobody looks, and each picture once for all who do.

    Attributes:
        address: of the page.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._moment: Moment | None = None
        self._closed = False
        self._drawing = threading.Lock()
        self._drawn: tuple[Moment, bytes] | None = None
        self._spots: dict[int, tuple[int, int]] = {}  # where each person's text stood last
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}/{secrets.token_urlsafe(12)}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def show(self, moment: Moment) -> None:
        """Show this moment from now on."""
        with self._changed:
            self._moment = moment
            self._changed.notify_all()

    def pictures(self) -> Iterator[bytes]:
        """Each moment's annotated picture as JPEG, until the page is closed; those that came meanwhile are left out."""
        shown = None
        while True:
            with self._changed:
                while self._moment is shown and not self._closed:
                    self._changed.wait()
                shown = self._moment
            if self._closed or shown is None:
                return
            shown, picture = self._draw(shown)
            yield picture

    def _draw(self, moment: Moment) -> tuple[Moment, bytes]:
        """This moment, or a later one that another reader has just asked for, as JPEG."""
        with self._drawing:
            if self._drawn is None or self._drawn[0].frame.index < moment.frame.index:
                file = BytesIO()
                Image.fromarray(draw(moment.frame.picture(), moment.faces, spots=self._spots)).save(
                    file, "JPEG", quality=80
                )
                self._drawn = moment, file.getvalue()
            return self._drawn

    def close(self) -> None:
        """End the page and what it sends."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """The page at its address, and the pictures at `pictures` below it."""

    timeout = TIMEOUT  # of the socket

    def __init__(self, page: Page, *arguments: Any) -> None:
        self._page = page
        super().__init__(*arguments)

    def do_GET(self) -> None:
        address = urlsplit(self._page.address)
        # another site may have given its name this machine's address, to read the page in this browser as its own
        if self.headers["Host"] not in (address.netloc, f"localhost:{address.port}"):
            self.send_error(403)
        elif self.path == address.path:
            self._begin("text/html; charset=utf-8")
            self.wfile.write(_HTML)
        elif self.path == f"{address.path}pictures":
            self._begin("multipart/x-mixed-replace; boundary=picture")
            with suppress(OSError):  # who looked has gone, or takes nothing any more
                for picture in self._page.pictures():
                    head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                    self.wfile.write(head.encode() + picture + b"\r\n")
        else:
            self.send_error(404)

    def log_message(self, *_: Any) -> None:
        """Standard error is for what the user should read."""

    def _begin(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.end_headers()


_HTML = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>msanet</title>
<style>
body { margin: 0; background: #191919 }
img { display: block; width: 100vw; height: 100vh; object-fit: contain }
</style>
<img src="pictures" alt="the camera's picture with the faces and expressions found in it">
</html>
"""
