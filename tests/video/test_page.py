"""The live page: who may see it, and what each reader costs."""

from __future__ import annotations

import http.client
import io
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

import numpy as np
import pytest

from msanet.drawing.annotate import draw
from msanet.images import read
from msanet.video import live, page
from msanet.video.frames import Frame, Moment
from msanet.video.page import Page
from msanet.video.tracks import Following
from tests.conftest import HEIGHT, WIDTH, walking

av = pytest.importorskip("av")


@pytest.fixture
def shown() -> Iterator[Page]:
    """A page that shows a grey picture."""
    one = Page()
    one.show(moment(0))
    yield one
    one.close()


def moment(index: int) -> Moment:
    picture = np.full((96, 160, 3), 100, np.uint8)
    return Moment(Frame(av.VideoFrame.from_ndarray(picture, format="rgb24"), index, index / 25), ())


def status(address: str, host: str | None) -> int:
    """The answer's number to a request with this Host header; None: without it."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection(str(place.hostname), place.port or 80, timeout=5)
    connection.putrequest("GET", place.path, skip_host=True)
    if host is not None:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse().status
    connection.close()
    return answer


def test_the_page_shows_the_pictures_at_its_secret_address(recognizer, portrait):
    shown = Page()
    try:
        data = b"".join(picture.tobytes() for picture in walking(portrait, 1))
        live.watch(live.raw(io.BytesIO(data), WIDTH, HEIGHT), recognizer, Following(), io.StringIO(), shown)
        with urllib.request.urlopen(shown.address, timeout=5) as answer:
            assert b'<img src="pictures"' in answer.read()
        with urllib.request.urlopen(shown.address + "pictures", timeout=5) as answer:
            assert answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=picture"
            head = b"".join(answer.readline() for _ in range(4))
            size = int(head.split(b"Content-Length: ")[1].split()[0])
            picture = read(answer.read(size))
        assert picture.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(picture.astype(int) - walking(portrait, 1)[0]).max() > 100  # it is drawn on
        for other in ("/", "/pictures", "/wrong/pictures"):
            root = shown.address[: shown.address.index("/", 8)]
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(root + other, timeout=5)
    finally:
        shown.close()


def test_nobody_can_guess_the_address():
    pages = [Page() for _ in range(3)]
    secrets = {urlsplit(one.address).path.strip("/") for one in pages}
    for one in pages:
        one.close()
    assert len(secrets) == 3
    assert min(map(len, secrets)) >= 16


def test_other_machines_cannot_reach_it(shown):
    """127.0.0.2 is this machine too on Linux, but a server of 127.0.0.1 alone does not answer there."""
    place = urlsplit(shown.address)
    assert place.hostname == "127.0.0.1"
    assert shown._server.server_address[0] == "127.0.0.1"
    with pytest.raises(OSError, match=r"refused|unreachable|assign"):
        socket.create_connection(("127.0.0.2", place.port), timeout=2)


def test_another_sites_name_for_this_machine_is_refused(shown):
    port = urlsplit(shown.address).port
    assert status(shown.address, f"127.0.0.1:{port}") == status(shown.address, f"localhost:{port}") == 200
    for host in ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", "127.0.0.1", "", None):
        assert status(shown.address, host) == 403
        assert status(shown.address + "pictures", host) == 403


def test_a_picture_is_drawn_once_for_all_its_readers(shown, monkeypatch):
    drawn = []

    def count(picture, faces, **options):
        drawn.append(1)
        return draw(picture, faces, **options)

    monkeypatch.setattr("msanet.video.page.draw", count)
    readers = [shown.pictures() for _ in range(20)]
    assert len({next(reader) for reader in readers}) == len(drawn) == 1
    shown.show(moment(1))
    shown.show(moment(2))
    threads = [threading.Thread(target=next, args=(reader,)) for reader in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert len(drawn) == 2


def test_a_reader_that_takes_nothing_and_one_that_asks_nothing_are_left(shown, monkeypatch):
    assert page._Handler.timeout == page.TIMEOUT < 60
    monkeypatch.setattr(page._Handler, "timeout", 0.3)
    place = urlsplit(shown.address)
    before = threading.active_count()
    with (
        socket.create_connection((place.hostname, place.port)) as silent,
        socket.create_connection((place.hostname, place.port)) as stuck,
    ):
        stuck.sendall(f"GET {place.path}pictures HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode())
        silent.settimeout(5)
        assert silent.recv(1) == b""  # closed by the page
        for index in range(1, 3000):
            shown.show(moment(index))
            threading.Event().wait(0.001)
            if threading.active_count() <= before:
                break
        assert threading.active_count() <= before
