"""Tarballs: writing is deterministic and leaves no incomplete file, and validation names every fault."""

import gzip
import io as bytes_io
import json
import random
import tarfile

import numpy as np
import pytest
from helpers import assert_user_error, run, write_tif

from geopose.cli import UserError
from geopose.io.poses import parse_vflow
from geopose.io.rasters import decode_agl
from geopose.io.tables import read_test_table
from geopose.scoring.submission import SubmissionWriter, encode_prediction, read_predictions, validate

SIZE = (24, 32)


def heights(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 40, SIZE).astype(np.float32)


def add(writer, tile_id, agl_m, scale_px_per_m, angle_rad) -> None:
    writer.add_encoded(tile_id, encode_prediction(tile_id, agl_m, scale_px_per_m, angle_rad))


def pack_sound(path, competition) -> None:
    with SubmissionWriter(path) as writer:
        for number, tile_id in enumerate(read_test_table(competition).id):
            add(writer, tile_id, heights(number), 0.9, 1.0)


def pack(path, members) -> None:
    """A tarball of pairs (name or TarInfo, content), in the given order."""
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, bytes_io.BytesIO(content))


@pytest.fixture
def sound(competition):
    """The members of a valid submission as a dict, and its competition folder."""
    path = competition.parent / "sound.tar.gz"
    pack_sound(path, competition)
    return dict(read_predictions(path)), competition


def faults_of(members, competition) -> list[str]:
    path = competition.parent / "changed.tar.gz"
    pack(path, members.items() if isinstance(members, dict) else members)
    return validate(path, competition)


# --- writing ----------------------------------------------------------------------------------------------------


def test_a_tarball_is_read_as_it_was_written(competition, tmp_path):
    path = tmp_path / "new folder" / "submission.tar.gz"
    pack_sound(path, competition)
    assert validate(path, competition) == []
    ids = read_test_table(competition).id.tolist()
    with tarfile.open(path) as tar:
        assert tar.getnames() == [name for i in ids for name in (f"{i}_AGL.tif", f"{i}_VFLOW.json")]
        assert {(m.mtime, m.uid, m.gid, m.mode, m.uname) for m in tar.getmembers()} == {(0, 0, 0, 0o644, "")}
    content = dict(read_predictions(path))
    decoded = decode_agl(content[f"{ids[3]}_AGL.tif"], "x")
    assert np.abs(decoded.agl_m - heights(3)).max() <= 0.0051
    pose = json.loads(content[f"{ids[3]}_VFLOW.json"])
    assert pose == {"scale": pytest.approx(0.009), "angle": 1.0}


def test_two_writes_are_identical(competition, tmp_path):
    for name in ("a.tar.gz", "b.tar.gz"):
        pack_sound(tmp_path / name, competition)
    content = (tmp_path / "a.tar.gz").read_bytes()
    assert content == (tmp_path / "b.tar.gz").read_bytes()
    assert content[3:8] == bytes(5)  # the gzip header has no file name and no time


def test_values_are_brought_into_range(tmp_path):
    with SubmissionWriter(tmp_path / "a.tar.gz") as writer:
        add(writer, "ARG_a", np.full(SIZE, -2.0), -0.1, -0.5)
    content = dict(read_predictions(tmp_path / "a.tar.gz"))
    assert decode_agl(content["ARG_a_AGL.tif"], "x").agl_m.max() == 0
    pose = parse_vflow(content["ARG_a_VFLOW.json"], "x")
    assert pose.scale_px_per_m == 0
    assert pose.angle_rad == pytest.approx(2 * np.pi - 0.5)


@pytest.mark.parametrize(
    ("agl_m", "scale", "angle", "words"),
    [
        (np.where(np.arange(32) < 3, np.nan, np.ones(SIZE)), 1.0, 0.0, "72 of 768 heights"),
        (np.full(SIZE, np.inf), 1.0, 0.0, "infinite"),
        (np.ones(SIZE), np.nan, 0.0, "scale is nan"),
        (np.ones(SIZE), 1.0, np.inf, "angle is inf"),
        (np.full(SIZE, 700.0), 1.0, 0.0, "700 m"),
        (np.ones((1, *SIZE)), 1.0, 0.0, "shape"),
    ],
)
def test_refusal_names_the_id_and_leaves_no_file(tmp_path, agl_m, scale, angle, words):
    with pytest.raises(UserError) as caught, SubmissionWriter(tmp_path / "a.tar.gz") as writer:
        add(writer, "ARG_good", heights(), 1.0, 0.0)
        add(writer, "JAX_bad", agl_m, scale, angle)
    assert "JAX_bad" in str(caught.value)
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_same_id_twice_is_refused(tmp_path):
    with pytest.raises(UserError, match="ARG_a: predicted twice"), SubmissionWriter(tmp_path / "a.tar.gz") as writer:
        add(writer, "ARG_a", heights(), 1.0, 0.0)
        add(writer, "ARG_a", heights(), 1.0, 0.0)


def test_a_failed_run_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), SubmissionWriter(path) as writer:
        add(writer, "ARG_a", heights(), 1.0, 0.0)
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


# --- validating -------------------------------------------------------------------------------------------------


def tif(values, tmp_path, **profile) -> bytes:
    write_tif(tmp_path / "any.tif", values, **profile)
    return (tmp_path / "any.tif").read_bytes()


def test_missing_members_are_all_named(sound):
    members, competition = sound
    gone = ["ARG_aaaaaa_AGL.tif", "JAX_bbbbbb_VFLOW.json"]
    faults = faults_of({k: v for k, v in members.items() if k not in gone}, competition)
    assert [fault.split(":")[0] for fault in faults] == gone
    assert len(faults_of({}, competition)) == len(members)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("PAR_aaaaaa_AGL.tif", "not a test id"),
        ("notes.txt", "not the name of a prediction"),
        ("ARG_aaaaaa_agl.tif", "not the name of a prediction"),
        ("folder/ARG_aaaaaa_AGL.tif", "flat"),
        ("./ARG_aaaaaa_AGL.tif", "flat"),
        ("/ARG_aaaaaa_AGL.tif", "leaves the archive"),
        ("../ARG_aaaaaa_AGL.tif", "leaves the archive"),
    ],
)
def test_files_that_do_not_belong_are_named(sound, name, words):
    members, competition = sound
    (fault,) = faults_of({**members, name: b"text"}, competition)
    assert name in fault
    assert words in fault


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.DIRTYPE, "a folder"),
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.FIFOTYPE, "a special"),
    ],
)
def test_members_that_are_not_files(sound, kind, words):
    members, competition = sound
    info = tarfile.TarInfo("odd")
    info.type, info.linkname = kind, "/etc/passwd"
    (fault,) = faults_of([*members.items(), (info, b"")], competition)
    assert f"odd: {words}" in fault


def test_a_file_that_is_there_twice_is_named(sound):
    members, competition = sound
    (fault,) = faults_of([*members.items(), ("ARG_aaaaaa_AGL.tif", members["ARG_aaaaaa_AGL.tif"])], competition)
    assert "ARG_aaaaaa_AGL.tif: in the tarball more than once" in fault


@pytest.mark.parametrize(
    ("values", "profile", "words"),
    [
        (np.ones(SIZE, np.float32), {}, "float heights"),
        (np.ones(SIZE, np.int32), {}, "int32"),
        (np.ones((2, *SIZE), np.uint16), {}, "2 bands"),
        (np.ones((32, 24), np.uint16), {}, "32x24, but its image is 24x32"),
        (np.ones(SIZE, np.uint16), {"compress": "lzw"}, "compression lzw"),
        (np.ones(SIZE, np.uint16), {"compress": None}, "compression none"),
        (np.full(SIZE, 65535, np.uint16), {}, "768 pixels are unknown"),
        (np.full(SIZE, 50001, np.uint16), {}, "above 500 m"),
        (np.ones(SIZE, np.uint16), {"driver": "PNG", "compress": None}, "not an image"),
    ],
)
def test_heights_that_break_the_rules_are_named(sound, tmp_path, values, profile, words):
    members, competition = sound
    members["OMA_aaaaaa_AGL.tif"] = tif(values, tmp_path, **profile)
    (fault,) = faults_of(members, competition)
    assert fault.startswith("OMA_aaaaaa_AGL.tif: ")
    assert words in fault


@pytest.mark.parametrize("content", [b"", b"no image at all", "half"])
def test_heights_that_cannot_be_read_are_named(sound, content):
    members, competition = sound
    whole = members["OMA_aaaaaa_AGL.tif"]
    members["OMA_aaaaaa_AGL.tif"] = whole[: len(whole) // 2] if content == "half" else content
    (fault,) = faults_of(members, competition)
    assert "OMA_aaaaaa_AGL.tif: truncated or not an image" in fault


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\x81", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"scale": 0.01}', "angle is missing"),
        (
            b'{"scale_px_per_m": 1.0, "angle_rad": 1.0}',
            "scale is missing",
        ),  # of a scene; the challenge knows no such key
        (b'{"scale": NaN, "angle": 1}', "scale is nan"),
        (b'{"scale": 0.01, "angle": -Infinity}', "angle is -inf"),
        (b'{"scale": -0.01, "angle": 1}', "scale -1 px/m"),
        (b'{"scale": 0.9, "angle": 1}', "scale 90 px/m"),  # px/m instead of px/cm
        (b'{"scale": 0.01, "angle": -0.1}', "angle -0.1"),
        (b'{"scale": 0.01, "angle": 6.2832}', "angle 6.2832"),
        (b'{"scale": 0.01, "angle": 90}', "angle 90"),
    ],
)
def test_poses_that_break_the_rules_are_named(sound, content, words):
    members, competition = sound
    members["OMA_aaaaaa_VFLOW.json"] = content
    (fault,) = faults_of(members, competition)
    assert fault.startswith("OMA_aaaaaa_VFLOW.json: ")
    assert words in fault


def test_every_fault_at_once(sound, tmp_path):
    members, competition = sound
    members["ARG_aaaaaa_AGL.tif"] = tif(np.full(SIZE, 65535, np.uint16), tmp_path, compress="lzw")
    members["JAX_aaaaaa_VFLOW.json"] = b'{"scale": -1, "angle": 7}'
    members["notes.txt"] = b""
    del members["OMA_bbbbbb_AGL.tif"]
    assert len(faults_of(members, competition)) == 6


@pytest.mark.parametrize("damage", ["empty", "text", "plain tar", "truncated", "checksum", "tail lost"])
def test_a_damaged_archive_is_named(competition, tmp_path, damage):
    path = tmp_path / "s.tar.gz"
    pack_sound(path, competition)
    content = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "text": b"hello" * 1000,
            "plain tar": gzip.decompress(content),
            "truncated": content[: len(content) // 2],
            "checksum": content[:-8] + bytes([content[-8] ^ 1]) + content[-7:],
            "tail lost": content[:-8],
        }[damage]
    )
    faults = validate(path, competition)
    assert any("s.tar.gz" in fault and "pack it again" in fault for fault in faults)
    assert all("\n" not in fault for fault in faults)


def test_noise_never_crashes_the_validator(competition, tmp_path):
    path = tmp_path / "s.tar.gz"
    pack_sound(path, competition)
    packed, plain = path.read_bytes(), gzip.decompress(path.read_bytes())
    rng = random.Random(0)
    for turn in range(60):
        content = bytearray(packed if turn % 2 else plain)
        for _ in range(5):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(bytes(content) if turn % 2 else gzip.compress(bytes(content), 1))
        assert all(isinstance(fault, str) for fault in validate(path, competition))


def test_folders_and_tarballs_are_read(sound, tmp_path):
    members, _ = sound
    for name, content in members.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "notes.txt").write_text("not a prediction")
    assert dict(read_predictions(tmp_path)) == members
    with pytest.raises(UserError, match="no such file"):
        list(read_predictions(tmp_path / "nowhere.tar.gz"))


# --- command ----------------------------------------------------------------------------------------------------


def test_the_command_says_ok_or_lists_the_faults(competition, tmp_path):
    path = tmp_path / "s.tar.gz"
    pack_sound(path, competition)
    result = run("-m", "geopose", "validate", path, "--data", competition)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("ok")
    assert "8 tiles" in result.stdout
    pack(path, [("notes.txt", b"")])
    result = run("-m", "geopose", "validate", path, "--data", competition)
    assert result.returncode == 1
    assert len(result.stdout.strip().splitlines()) == 17
    assert "Traceback" not in result.stderr
    assert_user_error(run("-m", "geopose", "validate", tmp_path / "no.tar.gz", "--data", competition), "no.tar.gz")
