"""Videos as they come: times, turns, colours, and everything that can be wrong with them."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from msanet.errors import InputError
from msanet.video.frames import Frame, VideoReader

av = pytest.importorskip("av")


def cards(count: int, height: int = 96, width: int = 160) -> list[np.ndarray]:
    """Pictures with a bright corner, the upper left one, that tell their number by their grey."""
    pictures = [np.full((height, width, 3), 20 + 5 * index, np.uint8) for index in range(count)]
    for picture in pictures:
        picture[: height // 4, : width // 4] = 250
    return pictures


def test_times_are_those_of_the_file(make_clip):
    times = [0, 40, 50, 300, 310, 1000]
    with VideoReader(make_clip("uneven.mp4", cards(6), times=times, options={"bf": "0"})) as reader:
        frames = list(reader)
        assert [frame.time for frame in frames] == pytest.approx(np.array(times) / 1000, abs=1e-4)
        assert [frame.index for frame in frames] == list(range(6))
        assert (reader.damaged, reader.broken) == (0, None)
        assert reader.duration == pytest.approx(1.04, abs=0.05)


def test_times_begin_at_zero_whatever_the_stream_says(make_clip):
    with VideoReader(make_clip("stream.ts", cards(5))) as reader:  # these begin at 1.4 seconds
        assert [frame.time for frame in reader] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16], abs=0.021)


def test_a_bare_stream_has_no_duration_and_no_times(make_clip):
    with VideoReader(make_clip("bare.h264", cards(5), options={"bf": "0"})) as reader:
        assert reader.duration is None
        times = [frame.time for frame in reader]
        assert len(times) == 5
        assert (np.diff(times) > 0).all()


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [((0, 1, -1, 0), (0, -1)), ((-1, 0, 0, -1), (-1, -1)), ((0, -1, 1, 0), (-1, 0))],
    ids=["clockwise", "upside down", "counterclockwise"],
)
def test_a_video_that_says_so_is_turned(make_clip, matrix, corner):
    """As telephones do: the picture lies as the sensor did, a matrix in the header says how it is shown."""
    path = make_clip("turned.mp4", cards(3))
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # ISO 14496-12, 8.3.2: the matrix follows 40 bytes of other fields
    a, b, c, d = (value << 16 for value in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    with VideoReader(path) as reader:
        picture = next(iter(reader)).picture()
    assert picture.shape == ((160, 96, 3) if matrix[0] == 0 else (96, 160, 3))
    assert picture[corner].min() > 200
    assert sum(picture[y, x].min() > 200 for y in (0, -1) for x in (0, -1)) == 1


def test_a_reduced_frame_is_the_frame_reduced(make_clip, portrait):
    with VideoReader(make_clip("portrait.mp4", [portrait], options={"crf": "5"})) as reader:
        (frame,) = reader
    small = frame.reduced(150)
    assert small.shape == (150, 128, 3)
    blocks = frame.picture().reshape(150, 4, 128, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - blocks).mean() < 3
    assert frame.reduced(9999).shape == (600, 512, 3)


@pytest.mark.parametrize(("height", "colorspace"), [(720, 1), (720, 2), (360, 5), (360, 2)])
def test_colours_are_those_that_were_written(height, colorspace):
    """2 means that the file does not say: then large pictures are read as ITU-R BT.709, small ones as BT.601."""
    standard = "ITU709" if height == 720 else "ITU601"
    colours = np.array([[200, 40, 40], [40, 160, 60], [60, 60, 200]], np.uint8)
    picture = np.repeat(np.tile(colours[:, None], (1, height, 1)).transpose(1, 0, 2), 40, axis=1)
    image = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p", dst_colorspace=standard)
    image.colorspace = colorspace
    seen = Frame(image, 0, 0.0).picture()
    assert np.abs(seen[:, 20::40].astype(int) - colours).max() <= 3


def test_a_damaged_middle_costs_only_the_middle(make_clip):
    random = np.random.default_rng(0)
    noise = [random.integers(0, 255, (96, 160, 3), np.uint8) for _ in range(40)]
    path = make_clip("damaged.ts", noise, options={"g": "5"})
    data = bytearray(path.read_bytes())
    middle = slice(len(data) // 2, len(data) // 2 + 20_000)
    data[middle] = random.bytes(20_000)
    path.write_bytes(data)
    with VideoReader(path) as reader:
        count = sum(1 for _ in reader)
        assert reader.damaged > 0
    assert 25 <= count < 45


def test_a_file_cut_short_gives_what_is_there(make_clip):
    path = make_clip("cut.mkv", cards(40), options={"g": "5", "bf": "0"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with VideoReader(path) as reader:
        assert 10 < sum(1 for _ in reader) < 40


def test_what_is_no_video_is_one_sentence(tmp_path, make_clip):
    def refused(path):
        with pytest.raises(InputError) as caught, VideoReader(path) as reader:
            list(reader)
        assert str(path) in str(caught.value)
        return str(caught.value)

    assert "does not exist or is no file" in refused(tmp_path / "missing.mp4")
    assert "does not exist or is no file" in refused(tmp_path)
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    assert "cannot be opened as a video" in refused(text)
    listing = tmp_path / "list.m3u8"
    listing.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    assert "holds no" in (sentence := refused(listing)) or "cannot be opened" in sentence
    song = tmp_path / "song.mp4"
    with av.open(str(song), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert "holds sound only" in refused(song)
    assert "holds no picture that can be decoded" in refused(make_clip("empty.mkv", iter(()), sound="aac"))


def test_messages_tell_no_password():
    with pytest.raises(InputError, match=r"rtsp://127\.0\.0\.1:9/door") as caught:
        VideoReader("rtsp://me:secret@127.0.0.1:9/door", options={})
    assert "secret" not in str(caught.value)
