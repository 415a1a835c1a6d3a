"""Videos as they come: times, turns, colours, and everything that can be wrong with them."""

from __future__ import annotations

import shutil
import struct
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from msanet.errors import InputError
from msanet.video import frames
from msanet.video.frames import Frame, VideoReader, is_video, shown_address

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


TURNS = [((0, 1, -1, 0), (0, -1)), ((-1, 0, 0, -1), (-1, -1)), ((0, -1, 1, 0), (-1, 0))]


def turn(path, matrix) -> None:
    """Make an MP4 file say that it is shown turned (ISO 14496-12, 8.3.2: after 40 bytes of other fields)."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize(("matrix", "corner"), TURNS, ids=["clockwise", "upside down", "counterclockwise"])
@pytest.mark.parametrize("aspect", [None, Fraction(2), Fraction(8, 9)])
def test_a_video_that_says_so_is_turned(make_clip, matrix, corner, aspect):
    """As telephones do: the picture lies as the sensor did, a matrix in the header says how it is shown."""
    path = make_clip("turned.mp4", cards(3), aspect=aspect)
    turn(path, matrix)
    with VideoReader(path) as reader:
        picture = next(iter(reader)).picture()
    height, width = {None: (96, 160), Fraction(2): (96, 320), Fraction(8, 9): (108, 160)}[aspect]
    assert picture.shape == ((width, height, 3) if matrix[0] == 0 else (height, width, 3))
    assert picture[corner].min() > 200
    assert sum(picture[y, x].min() > 200 for y in (0, -1) for x in (0, -1)) == 1


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.wmv", "a.h264"])
@pytest.mark.parametrize("aspect", [Fraction(2), Fraction(64, 45), Fraction(1, 2)])
def test_pixels_that_are_not_square_become_square(make_clip, portrait, name, aspect):
    codec = {"a.avi": "mpeg4", "a.wmv": "wmv2"}.get(name, "libx264")
    squeezed = (round(512 / max(aspect, 1)) // 2 * 2, round(600 * min(aspect, 1)) // 2 * 2)
    picture = np.asarray(Image.fromarray(portrait).resize(squeezed, Image.Resampling.LANCZOS))
    path = make_clip(name, [picture] * 2, codec=codec, aspect=aspect, options={"b": "9000000"})
    with VideoReader(path) as reader:
        frame = next(iter(reader))
    seen, small = frame.picture(), frame.reduced(150)
    assert seen.shape == pytest.approx((600, 512, 3), abs=2)
    assert small.shape == pytest.approx((150, 128, 3), abs=1)
    whole = np.asarray(Image.fromarray(seen).resize((128, 150), Image.Resampling.BOX))
    wanted = np.asarray(Image.fromarray(portrait).resize((128, 150), Image.Resampling.BOX))
    assert np.abs(whole.astype(int) - wanted).mean() < 6
    assert np.abs(small.astype(int) - wanted).mean() < 6


def test_an_aspect_that_no_camera_has_is_a_mistake(make_clip):
    with VideoReader(make_clip("odd.mp4", cards(2), aspect=Fraction(50))) as reader:
        assert next(iter(reader)).picture().shape == (96, 160, 3)


def test_a_broadcast_may_change_its_aspect_on_the_way(make_clip, tmp_path):
    parts = [make_clip(f"{aspect}.ts", cards(5), aspect=Fraction(aspect, 11)) for aspect in (12, 16)]
    (tmp_path / "both.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    with VideoReader(tmp_path / "both.ts") as reader:
        widths = [frame.picture().shape[1] for frame in reader]
    assert sorted(set(widths)) == [175, 233]
    assert widths == sorted(widths)


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


@pytest.mark.parametrize("name", ["title.mkv", "title.avi", "title.mp4"])
def test_a_title_may_be_in_any_letters(tmp_path, name):
    with av.open(str(tmp_path / name), "w", metadata_encoding="latin-1") as container:
        container.metadata["title"] = "Caf\xe9"
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(cards(1)[0], format="rgb24")))
        container.mux(stream.encode())
    assert b"Caf\xe9" in (tmp_path / name).read_bytes()
    with VideoReader(tmp_path / name) as reader:
        assert len(list(reader)) == 1


HOUR = 3_600_000  # milliseconds


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("ahead.ts", [0, 40, 80, 7 * HOUR, 7 * HOUR + 40]),
        ("ahead.mkv", [0, 40, 80, 7 * HOUR, 7 * HOUR + 40]),
        ("ahead.mp4", [0, 40, 80, 7 * HOUR, 7 * HOUR + 40]),
        ("late.ts", [0, 15_000, 15_040, 15_080, 15_120]),
    ],
)
def test_a_clock_that_jumps_does_not_count(make_clip, name, times):
    with VideoReader(make_clip(name, cards(5), times=times, options={"bf": "0"})) as reader:
        assert [frame.time for frame in reader] == pytest.approx(np.arange(5) / 25, abs=0.002)


@pytest.mark.parametrize(("jump", "back"), [(93, True), (7 * 3600, True), (-3600, True), (7 * 3600, False)])
def test_a_frame_astray_leaves_the_times_of_the_others(make_clip, monkeypatch, jump, back):
    """What FFmpeg's muxers would not write: the clock of a damaged transport stream."""
    path = make_clip("clock.ts", cards(10), options={"bf": "0"})
    images = VideoReader._images

    def damaged(reader):
        for index, image in enumerate(images(reader)):
            image.pts = (image.pts or 0) + (90_000 * jump if index == 4 or (index > 4 and not back) else 0)
            yield image

    monkeypatch.setattr(VideoReader, "_images", damaged)
    with VideoReader(path) as reader:
        assert [frame.time for frame in reader] == pytest.approx(np.arange(10) / 25, abs=0.021)


def test_a_long_still_is_no_jump(make_clip):
    with VideoReader(make_clip("slides.mkv", cards(3), times=[0, HOUR // 2, HOUR])) as reader:
        assert [frame.time for frame in reader] == [0, 1800, 3600]


def test_the_sound_goes_with_the_clock(make_clip, tmp_path):
    parts = [make_clip(f"{index}.ts", cards(25), sound="aac", options={"bf": "0"}) for index in range(3)]
    (tmp_path / "joined.ts").write_bytes(parts[0].read_bytes() + shift(parts[1], 7 * 3600) + parts[2].read_bytes())
    with VideoReader(tmp_path / "joined.ts", sound=True) as reader:
        times, sounds = [], []
        for frame in reader:
            times.append(frame.time)
            sounds += [float((packet.dts or 0) * packet.time_base) for packet in reader.sound_until(frame.time)]
        sounds += [float((packet.dts or 0) * packet.time_base) for packet in reader.sound_until(np.inf)]
    assert np.array(times) - times[0] == pytest.approx(np.arange(75) / 25, abs=0.02)
    assert len(sounds) == 3 * 8
    in_order = [time for time, before in zip(sounds[1:], sounds, strict=False) if time > before]
    assert len(in_order) >= 3 * 8 - 2  # at a jump a packet may come before the picture that tells of it
    assert np.diff(in_order).max() < 0.3
    assert in_order[-1] == pytest.approx(2.9, abs=0.05)


def shift(path, seconds: int) -> bytes:
    """A transport stream with its clock set forward."""
    later = path.with_suffix(".later.ts")
    options = {"output_ts_offset": str(seconds)}
    with av.open(str(path)) as source, av.open(str(later), "w", options=options) as target:
        streams = {stream: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                target.mux(packet)
    return later.read_bytes()


def test_what_is_a_video_is_seen_by_its_content(make_clip, tmp_path, portrait):
    clip = make_clip("clip.mp4", cards(3))
    copies = {"noending": clip, "clip.qt": clip, "picture.jpg": clip, "odd.txt": clip}
    copies["bare"] = make_clip("bare.h264", cards(3))
    copies["clip.dat"] = make_clip("clip.wmv", cards(3), codec="wmv2")
    copies["cl"] = make_clip("cl.webm", cards(3), codec="libvpx-vp9")
    for name, source in copies.items():
        shutil.copy(source, tmp_path / name)
        assert is_video(tmp_path / name), name
    damaged = tmp_path / "damaged.mov"
    damaged.write_bytes(clip.read_bytes()[:100])
    assert is_video(damaged)
    for name, kind in (("a.mp4", "JPEG"), ("b", "PNG"), ("c.mov", "WEBP"), ("d.gif", "GIF"), ("e.ts", "TIFF")):
        Image.fromarray(portrait[:64, :64]).save(tmp_path / name, kind)
        assert not is_video(tmp_path / name), name
        with pytest.raises(InputError, match="is a picture"):
            VideoReader(tmp_path / name)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    for name, data in (("text.txt", b"no video\n" * 99), ("notes", b"none\n" * 9), ("empty", b""), ("x.heic", heic)):
        (tmp_path / name).write_bytes(data)
        assert not is_video(tmp_path / name), name
    assert not is_video(song(tmp_path / "song.mp3", "mp3"))
    assert not is_video(tmp_path)
    assert not is_video(tmp_path / "nothing")


def test_frames_too_large_are_refused_before_they_are_decoded(make_clip, tmp_path, monkeypatch):
    monkeypatch.setattr(frames, "MAX_FRAME_PIXELS", 160 * 96 * 2)
    assert is_video(make_clip("fits.mp4", cards(2), aspect=Fraction(2)))
    with pytest.raises(InputError, match="has frames of 160 x 96 pixels"):
        VideoReader(make_clip("wide.mp4", cards(2), aspect=Fraction(3)))
    with pytest.raises(InputError, match="has frames of 320 x 200 pixels"):
        VideoReader(make_clip("large.mp4", cards(2, 200, 320)))
    small, large = (make_clip(f"{side}.h264", cards(20, side, side)).read_bytes() for side in (96, 256))
    (tmp_path / "grows.h264").write_bytes(small + large)
    with VideoReader(tmp_path / "grows.h264") as reader:
        assert {frame.longest for frame in reader} == {96}


def song(path, codec):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), format="s16", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


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
    assert "holds sound only" in refused(song(tmp_path / "song.mp4", "aac"))
    assert "holds no picture that can be decoded" in refused(make_clip("empty.mkv", iter(()), sound="aac"))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://me:secret@10.0.0.1:9/door", "rtsp://10.0.0.1:9/door"),
        ("rtsp://me:sec@ret@10.0.0.1/door", "rtsp://10.0.0.1/door"),
        ("rtsp://me:se/cret@10.0.0.1/door", "rtsp://10.0.0.1/door"),
        ("rtsp://me:se?cr#et@10.0.0.1/door", "rtsp://10.0.0.1/door"),
        ("http://10.0.0.1/live?user=me&password=secret", "http://10.0.0.1/live"),
        ("http://10.0.0.1/live#secret", "http://10.0.0.1/live"),
        ("http://10.0.0.1:80/live", "http://10.0.0.1:80/live"),
    ],
)
def test_an_address_is_shown_without_its_secrets(address, shown):
    assert shown_address(address) == shown


def test_messages_tell_no_password():
    with pytest.raises(InputError, match=r"rtsp://127\.0\.0\.1:9/door") as caught:
        VideoReader("rtsp://me:s@cret@127.0.0.1:9/door?key=secret", options={})
    assert "cret" not in str(caught.value)
