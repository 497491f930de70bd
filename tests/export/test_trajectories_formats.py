"""Data sets as other parties' own code writes them are read as those parties read them; hostile ones are refused."""

import base64
import io
import json
import os
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, timestamp_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from mcap.writer import CompressionType, Writer
from mcap_protobuf.writer import Writer as ProtobufWriter
from mcap_ros2.writer import Writer as Ros2Writer
from numpy.typing import NDArray
from PIL import Image
from wmserve_export.trajectories import formats
from wmserve_export.trajectories.bounds import DataError
from wmserve_export.trajectories.formats import Reading
from wmserve_export.trajectories.source import Source

from tests.conftest import ROOT
from tests.export import lerobot_recorder, recorded

LEROBOT = ROOT / ".lerobot"
FRAMES = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)


def opened(dataset: Path, **reading: Any) -> Source:
    """With the format recognised."""
    return formats.open_source(dataset, None, Reading(**reading))


def frames(source: Source, episode: int, camera: str, rows: Sequence[int]) -> NDArray[np.uint8]:
    """Of one episode, in order."""
    with source.open(episode, camera, ()) as recording:
        found = dict(recording.frames(rows))
    return np.stack([found[position] for position in range(len(rows))])


def column(source: Source, episode: int, key: str) -> NDArray[np.float32]:
    """Of one episode."""
    with source.open(episode, None, [key]) as recording:
        return recording.column(key)


def encoded(frame: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    """As an image file."""
    content = io.BytesIO()
    Image.fromarray(frame).save(content, kind)
    return content.getvalue()


# stable-worldmodel


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few episodes of Two-Room, as `World.collect` records them in both formats."""
    import loadtest.evaluation  # noqa: F401  # lets stable-worldmodel import torchvision

    # isort: split
    import stable_worldmodel as swm

    folder = tmp_path_factory.mktemp("collected")
    for name, kind in (("data.lance", "lance"), ("data.h5", "hdf5")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what its environment says to Gymnasium is its own business
            world = swm.World("swm/TwoRoom-v1", num_envs=2, image_shape=(16, 16), max_episode_steps=9)
            world.set_policy(swm.policy.RandomPolicy(seed=0))
            world.collect(folder / name, episodes=4, seed=0, format=kind, progress=False)
            world.close()
    return folder


@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")  # its own reader's
@pytest.mark.parametrize("name", ["data.lance", "data.h5"])
def test_what_stable_worldmodel_records(collected: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames and numbers are those that its own reader has; its action leads on from its row's frame."""
    from stable_worldmodel.data import HDF5Dataset, LanceDataset

    # Its reader would change how this process starts others.
    monkeypatch.setattr("stable_worldmodel.data.formats.lance._SPAWN_FORCED", True)
    source = opened(collected / name)
    assert source.kind == {"data.lance": "lance", "data.h5": "stable-worldmodel"}[name]
    peer: Any = (LanceDataset if name == "data.lance" else HDF5Dataset)(path=collected / name)
    assert len(source.episodes) == len(peer.lengths) == 4
    assert "pixels" in source.cameras
    for episode, length in enumerate(peer.lengths):
        theirs = peer.load_episode(episode)
        rows = range(0, int(length), 2)
        np.testing.assert_array_equal(
            frames(source, episode, "pixels", rows), theirs["pixels"].permute(0, 2, 3, 1).numpy()[::2]
        )
        actions, states = column(source, episode, "action"), column(source, episode, "state")
        np.testing.assert_array_equal(actions, theirs["action"].reshape(length, -1).numpy())
        moved = np.diff(states, axis=0)
        free = np.abs(moved - 5 * np.clip(actions[:-1], -1, 1)).max(axis=1) < 1e-3
        assert free.mean() > 0.5


# LeRobot


@pytest.fixture(scope="module")
def lerobot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set that LeRobot's own code wrote, and what it reads of it."""
    if not (LEROBOT / ".installed").exists():
        pytest.skip("LeRobot is not here: make .lerobot/.installed")
    folder = tmp_path_factory.mktemp("lerobot")
    path = os.pathsep.join(map(str, (LEROBOT, ROOT)))
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home")}
    command = [sys.executable, str(ROOT / "tests/export/lerobot_recorder.py"), str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def test_what_lerobot_records(lerobot: Path) -> None:
    """Of videos and of images in tables: the same pixels, numbers and names that LeRobot reads."""
    source = opened(lerobot / "dataset")
    assert (source.kind, source.rate, len(source.episodes)) == ("lerobot", 10, 3)
    assert source.columns["action"].names == ("x", "y", "gripper")
    assert source.columns["observation.state"].names == ("reach", "turn")
    with np.load(lerobot / "read.npz") as theirs:
        for episode, length in enumerate(lerobot_recorder.LENGTHS):
            mine = theirs["episode_index"] == episode
            rows = [0, 2, length - 1]
            for camera in source.cameras:
                lossy = camera == "observation.images.top"
                wanted = np.stack([lerobot_recorder.picture(episode, row)[:: 1 if lossy else -1] for row in rows])
                found = frames(source, episode, camera, rows)
                np.testing.assert_allclose(found.astype(int), wanted, atol=6 if lossy else 0)
            wrist = theirs["observation.images.wrist"][mine][rows].transpose(0, 2, 3, 1) * 255
            np.testing.assert_allclose(frames(source, episode, "observation.images.wrist", rows), wrist, atol=0.01)
            np.testing.assert_array_equal(column(source, episode, "action"), theirs["action"][mine])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"codebase_version": "v2.1"}, "must be a LeRobotDataset v3, not v2.1; convert it"),
        ({"data_path": "../../etc/{chunk_index}/{file_index}"}, "leads out of"),
        ({"video_path": "/etc/{video_key}"}, "leads out of"),
        ({"fps": 0}, "fps must be a number over 0"),
        ({"features": {"action": {"dtype": "float32", "shape": [1 << 40]}}}, "numbers in a row must be from 0 to"),
        ({"features": {"action": {"dtype": "float32", "shape": [-1]}}}, "shape must be a list"),
        ({"features": []}, "must have features"),
    ],
)
def test_a_lerobot_data_set_that_lies_is_refused(lerobot: Path, tmp_path: Path, change: Any, complaint: str) -> None:
    """About where files lie, or what is in them."""
    (tmp_path / "meta").mkdir()
    for name in ("data", "videos", "meta/episodes"):
        (tmp_path / name).symlink_to(lerobot / "dataset" / name)
    info = json.loads((lerobot / "dataset/meta/info.json").read_text())
    (tmp_path / "meta/info.json").write_text(json.dumps({**info, **change}))
    with pytest.raises(DataError, match=complaint):
        assert opened(tmp_path).episodes


# robomimic and HDF5


def demonstrations(file: Path) -> Path:
    """As robomimic lays them out."""
    with h5py.File(file, "w") as content:
        for number, rows in ((10, 12), (2, 8)):
            group = content.create_group(f"data/demo_{number}")
            group["actions"] = np.full((rows, 7), number, np.float64)
            group.create_dataset("obs/agentview", data=FRAMES[:rows], chunks=(5, 8, 8, 3), compression="gzip")
            group["obs/eef"] = np.arange(rows * 3.0).reshape(rows, 3)
            group["next_obs/agentview"] = FRAMES[:rows]
    return file


def test_what_robomimic_records(tmp_path: Path) -> None:
    """Demonstrations by number; a folder of files is one data set."""
    source = opened(demonstrations(tmp_path / "low.hdf5"))
    assert (source.kind, list(source.episodes)) == ("robomimic", ["demo_2", "demo_10"])
    assert (source.cameras, sorted(source.columns)) == (("obs/agentview",), ["actions", "obs/eef"])
    np.testing.assert_array_equal(frames(source, 1, "obs/agentview", [0, 4, 6, 11]), FRAMES[[0, 4, 6, 11]])
    assert column(source, 0, "actions")[0, 0] == 2
    demonstrations(tmp_path / "other.hdf5")
    assert opened(tmp_path).episodes[2] == "other_demo_2"


def objects(content: h5py.Group) -> None:
    """Strings of any length, which h5py holds as objects."""
    content.create_dataset("note", data=["a"] * 4, dtype=h5py.string_dtype())


def linked(content: h5py.Group) -> None:
    """A name that leads to another file."""
    content["note"] = h5py.ExternalLink("/etc/passwd", "/")


def outside(content: h5py.Group) -> None:
    """An array whose bytes are another file's."""
    content.create_dataset("note", (4,), np.uint8, external=[("/etc/passwd", 0, 4)])


def virtual(content: h5py.Group) -> None:
    """An array put together of others."""
    layout = h5py.VirtualLayout((4,), np.uint8)
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    content.create_virtual_dataset("note", layout)


def bomb(content: h5py.Group) -> None:
    """One chunk of a gigabyte, none of which is there."""
    content.create_dataset("note", (4, 1 << 28), np.float32, chunks=(1, 1 << 28), compression="gzip")


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (objects, "must hold numbers"),
        (linked, "is a link"),
        (outside, "other files"),
        (virtual, "other files"),
        (bomb, "bytes"),
    ],
)
def test_arrays_that_are_not_safe_are_not_offered_and_not_read(
    tmp_path: Path, harm: Callable[[h5py.Group], None], complaint: str
) -> None:
    """Objects, links, other files, chunks that would fill the memory."""
    file = recorded.save_columns(tmp_path / "data.h5", recorded.columns(recorded.episodes([4])))
    with h5py.File(file, "a") as content:
        harm(content)
    source = opened(file)
    assert "note" not in {*source.columns, *source.cameras}
    with pytest.raises(DataError, match=complaint):
        column(source, 0, "note")


# images and CSV


def test_frames_with_one_csv(tmp_path: Path) -> None:
    """Paths in a column; axes that share a name are one column; texts with line breaks are passed over."""
    lines = ["episode,frame,action_0,action_1,note"]
    for number in range(12):
        (tmp_path / f"{number}.png").write_bytes(encoded(FRAMES[number]))
        lines.append(f'{"ab"[number // 6]},{number}.png,{number},{-number},"so,\nit is"')
    (tmp_path / "all.csv").write_text("\n".join(lines))
    source = opened(tmp_path)
    assert (source.kind, list(source.episodes), source.cameras) == ("frames", ["a", "b"], ("frame",))
    np.testing.assert_array_equal(frames(source, 1, "frame", [0, 5]), FRAMES[[6, 11]])
    np.testing.assert_array_equal(column(source, 1, "action"), [[n, -n] for n in range(6, 12)])


def test_frames_with_a_csv_for_each_episode(tmp_path: Path) -> None:
    """Images of two cameras in folders, sorted by number."""
    for episode in ("first", "second"):
        for camera in ("left", "right"):
            (tmp_path / episode / camera).mkdir(parents=True)
            for number in range(12):
                frame = FRAMES[number] if camera == "left" else 255 - FRAMES[number]
                (tmp_path / episode / camera / f"frame{number}.png").write_bytes(encoded(frame))
        (tmp_path / episode / "rows.csv").write_text("move.x\n" + "\n".join(map(str, range(12))))
    source = opened(tmp_path)
    assert (list(source.episodes), source.cameras) == (["first", "second"], ("left", "right"))
    np.testing.assert_array_equal(frames(source, 1, "right", [2, 10]), 255 - FRAMES[[2, 10]])
    assert column(source, 0, "move.x")[11] == 11


def huge(width: int, height: int) -> bytes:
    """The head of a PNG that says how large it is, and nothing else."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", b""))
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("episode,frame,x\na,../secret.png,1", "leads out of"),
        ("episode,frame,x\na,/etc/passwd.png,1", "leads out of"),
        ("episode,frame,x\na,link.png,1", "leads out of"),
        ("episode,frame,x\na,huge.png,1", "from 1 to 16777216 pixels"),
        ("episode,frame,x\na,text.png,1", "must be one of JPEG"),
        ("episode,frame,x\na,none.png,1", "there is no image none.png"),
        ("episode,frame,x\na,1.png,1\na,2.png,yes", "x must be a number, not 'yes'"),
        ("episode,frame,x\na,1.png,1\nb,1.png,1\na,1.png,1", "must follow each other"),
        ("episode,frame,x\na,1.png", "must have 3 values"),
        ("frame,x\n1.png,1", "needs a column episode"),
        ("episode,x,x\n1,1,1", "must differ"),
        ("episode,frame,x\na," + "1" * (1 << 20) + ".png,1", "bytes of a line"),
    ],
)
def test_a_csv_that_lies_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    """About paths, images, rows."""
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(encoded(FRAMES[0]))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "huge.png").write_bytes(huge(60_000, 60_000))
    (folder / "text.png").write_text("no image")
    (folder / "1.png").write_bytes(encoded(FRAMES[0]))
    (folder / "all.csv").write_text(text)

    def read() -> None:
        source = opened(folder)
        column(source, 0, "x")
        frames(source, 0, next(iter(source.cameras)), [0])

    with pytest.raises(DataError, match=complaint):
        read()


# MCAP


@dataclass(frozen=True)
class Said:
    """A message: topic, time in ms, content."""

    topic: str
    time: int
    content: Any


def said(images: Callable[[int], Any], actions: Callable[[int], Any]) -> Iterable[Said]:
    """Ten images each 100 ms; actions each 50 ms, the second of which is said 20 ms after an image."""
    for number in range(10):
        yield Said("/camera", 1000 + 100 * number, images(number))
        for half in range(2):
            yield Said("/command", 1020 + 100 * number + 50 * half, actions(2 * number + half))


def in_json(file: Path, compression: CompressionType = CompressionType.ZSTD) -> Path:
    """As bridges to web pages record."""
    with file.open("wb") as stream:
        writer = Writer(stream, chunk_size=2000, compression=compression)
        writer.start()
        kinds = {"/camera": "foxglove.CompressedImage", "/command": "Command"}
        channels = {
            topic: writer.register_channel(topic, "json", writer.register_schema(name, "jsonschema", b"{}"))
            for topic, name in kinds.items()
        }
        image = lambda number: {"format": "png", "data": base64.b64encode(encoded(FRAMES[number])).decode()}  # noqa: E731
        for one in said(image, lambda number: {"linear": {"x": number}, "data": [number, -number]}):
            time = one.time * 10**6
            writer.add_message(channels[one.topic], time, json.dumps(one.content).encode(), time)
        writer.finish()
    return file


def protobuf_classes() -> Mapping[str, Any]:
    """foxglove.CompressedImage and a command, as their .proto files define them."""
    file = descriptor_pb2.FileDescriptorProto(name="all.proto", package="foxglove", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    kinds = descriptor_pb2.FieldDescriptorProto
    image, command = file.message_type.add(name="CompressedImage"), file.message_type.add(name="Command")
    stamp = ".google.protobuf.Timestamp"
    for message in (image, command):
        message.field.add(name="timestamp", number=1, type=kinds.TYPE_MESSAGE, type_name=stamp, label=1)
    image.field.add(name="frame_id", number=4, type=kinds.TYPE_STRING, label=1)
    image.field.add(name="data", number=2, type=kinds.TYPE_BYTES, label=1)
    image.field.add(name="format", number=3, type=kinds.TYPE_STRING, label=1)
    command.field.add(name="values", number=2, type=kinds.TYPE_DOUBLE, label=3)
    pool = DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return {
        name: GetMessageClass(pool.FindMessageTypeByName(f"foxglove.{name}")) for name in ("CompressedImage", "Command")
    }


def in_protobuf(file: Path) -> Path:
    """By mcap_protobuf's own writer."""
    classes = protobuf_classes()
    with file.open("wb") as stream, ProtobufWriter(stream) as writer:

        def image(number: int) -> Any:
            return classes["CompressedImage"](data=encoded(FRAMES[number]), format="png")

        for one in said(image, lambda number: classes["Command"](values=[number, -number])):
            if one.topic == "/camera":  # its own time says that it was taken 30 ms before it was logged
                one.content.timestamp.FromMilliseconds(one.time - 30)
            else:
                one.content.timestamp.FromMilliseconds(one.time)
            writer.write_message(one.topic, one.content, one.time * 10**6, one.time * 10**6)
    return file


RAW = "uint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\nuint8[] data"


def in_ros2(file: Path) -> Path:
    """By mcap_ros2's own writer; images are plain pixels, blue first, with unused bytes at the end of each line."""
    with file.open("wb") as stream:
        writer = Ros2Writer(stream)
        image_schema = writer.register_msgdef("sensor_msgs/msg/Image", RAW)
        command_schema = writer.register_msgdef("geometry_msgs/msg/Vector3", "float64 x\nfloat64 y\nfloat64 z")
        schemas = {"/camera": image_schema, "/command": command_schema}

        def image(number: int) -> Any:
            lines = np.pad(FRAMES[number][..., ::-1].reshape(8, 24), ((0, 0), (0, 8)))
            head = {"height": 8, "width": 8, "encoding": "bgr8", "is_bigendian": 0, "step": 32}
            return {**head, "data": list(lines.tobytes())}

        for one in said(image, lambda number: {"x": float(number), "y": -float(number), "z": 0.0}):
            time = one.time * 10**6
            writer.write_message(one.topic, schemas[one.topic], one.content, time, time)
        writer.finish()
    return file


@pytest.mark.parametrize(
    ("write", "key"), [(in_json, "/command.data"), (in_protobuf, "/command.values"), (in_ros2, "/command.x")]
)
def test_what_robots_log(tmp_path: Path, write: Callable[[Path], Path], key: str) -> None:
    """One clock for all: at each command the frame that was there; the rate is theirs, or one that is asked for."""
    file = write(tmp_path / "run.mcap")
    source = opened(file, timing=key)
    assert (source.kind, source.cameras, list(source.episodes)) == ("mcap", ("/camera",), ["run"])
    assert key in source.columns
    with source.open(0, "/camera", [key]) as recording:
        assert recording.rows == 18  # of 50 ms from the first command to the last image
        np.testing.assert_array_equal(recording.column(key)[:, 0], range(18))
        found = dict(recording.frames(range(18)))
    for row in range(18):
        np.testing.assert_array_equal(found[row], FRAMES[row // 2])
    slow = opened(file, rate=10.0)
    with slow.open(0, "/camera", [key]) as recording:
        np.testing.assert_array_equal(recording.column(key)[:, 0], range(0, 18, 2))


def test_a_messages_own_time_may_count(tmp_path: Path) -> None:
    """An image that was logged late is that of when it was taken; messages that tell no time are refused."""
    source = opened(in_protobuf(tmp_path / "run.mcap"), clock="header", timing="/command.values")
    with source.open(0, "/camera", ["/command.values"]) as recording:
        found = dict(recording.frames(range(recording.rows)))
        commands = recording.column("/command.values")[:, 0].astype(int)
    taken = [np.flatnonzero((FRAMES[:10] == found[row]).all(axis=(1, 2, 3)))[0] for row in range(len(commands))]
    assert taken == [(20 + 50 * command + 30) // 100 for command in commands]
    source = opened(in_json(tmp_path / "other.mcap"), clock="header", timing="/command.data")
    with pytest.raises(DataError, match="no time of their own"), source.open(0, "/camera", ["/command.data"]):
        pass


@pytest.mark.parametrize("compression", list(CompressionType))
def test_chunks_may_be_packed(tmp_path: Path, compression: CompressionType) -> None:
    """However recorders do."""
    source = opened(in_json(tmp_path / "run.mcap", compression), timing="/command.data")
    np.testing.assert_array_equal(frames(source, 0, "/camera", [5]), FRAMES[2:3])


@pytest.mark.parametrize("case", ["cut off", "no index", "bomb", "hole", "no base64", "damaged"])
def test_a_recording_that_lies_or_is_broken_is_refused(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is wrong."""
    file = in_json(
        tmp_path / "run.mcap", CompressionType.NONE if case in ("no base64", "damaged") else CompressionType.ZSTD
    )
    content = file.read_bytes()
    if case == "cut off":
        file.write_bytes(content[: len(content) // 2])
    if case == "no index":
        with file.open("wb") as stream:
            writer = Writer(stream, use_chunking=False)
            writer.start()
            writer.finish()
    if case == "damaged":
        place = content.index(b'"linear": {"x": 7}')
        file.write_bytes(content[:place] + b"#" + content[place + 1 :])
    if case == "no base64":
        monkeypatch.setattr(base64, "b64encode", lambda _: b"*")
        in_json(file)
    if case == "bomb":
        from wmserve_export.trajectories.formats import mcap_messages

        monkeypatch.setattr(mcap_messages, "MAX_BLOCK_BYTES", 1000)
    if case == "hole":
        every = said

        def some(images: Callable[[int], Any], actions: Callable[[int], Any]) -> Iterable[Said]:
            return (one for one in every(images, actions) if one.topic == "/command" or not 1300 < one.time < 1900)

        monkeypatch.setattr(sys.modules[__name__], "said", some)
        in_json(file)
    complaints = {
        "cut off": "cannot be read as MCAP",
        "no index": "no index of chunks",
        "bomb": "bytes of a chunk must be from 0 to 1000",
        "hole": "/camera has a hole",
        "no base64": "must be base64|one of JPEG",
        "damaged": "crc",
    }

    def read() -> None:
        with opened(file, timing="/command.data").open(0, "/camera", ["/command.data"]) as recording:
            list(recording.frames(range(recording.rows)))

    with pytest.raises(DataError, match=complaints[case]):
        read()


# all of them


def test_a_format_is_recognised_or_named(tmp_path: Path) -> None:
    """What is none of them says which there are; a table that is named is opened as that."""
    with pytest.raises(DataError, match="there is no data set"):
        opened(tmp_path / "none")
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match=r"of no format that is known; say which with --format.*lerobot.*mcap"):
        opened(tmp_path)
    with pytest.raises(DataError, match=r"there are no .mcap files"):
        formats.open_source(tmp_path, "mcap", Reading())
    with h5py.File(tmp_path / "other.h5", "w") as content:
        content["x"] = np.zeros(3)
    with pytest.raises(DataError, match="of no format"):
        opened(tmp_path / "other.h5")
    with pytest.raises(DataError, match="there is no ep_len; there: x"):
        formats.open_source(tmp_path / "other.h5", "stable-worldmodel", Reading())
