"""Recorded perception, movement and interaction: little sets in their original forms, and the originals where they are."""

import gzip
import hashlib
import io
import os
import tarfile
import wave
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from coppice.data import SETS, cifar100, motions, pmi_real, signs, speech, status
from coppice.data.fetch import RemoteFile
from coppice.data.forms import OneOf, members
from coppice.data.persons import split_by_person
from coppice.data.streams import Stream, load_stream

PERSONS = ("f1", "f2", "m2", "m3", "f3", "m1", "m4")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COPPICE_DATA", str(tmp_path))
    return tmp_path


def anything(file: RemoteFile) -> RemoteFile:
    """The same file, whatever is in it."""
    return replace(file, sha256="")


def movements() -> dict[str, np.ndarray]:
    """Two recordings of each primitive and person; the first number tells who moves, the second what."""
    found = {}
    for k, primitive in enumerate(motions.PRIMITIVES):
        for j, person in enumerate(PERSONS):
            for length in (70, 150):
                name = f"{primitive}/Accelerometer-2011-{length:04d}-{primitive.lower()}-{person}.txt"
                found[name] = np.full((length, 3), (j, k, length % 64), dtype=np.uint8)
    return found


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def text(steps: np.ndarray) -> bytes:
    return b"\r\n".join(b" ".join(b"%d" % number for number in row) for row in steps)


def write_movements(folder: Path, extra: dict[str, bytes] | None = None) -> None:
    files = {f"HMP_Dataset/{name}": text(steps) for name, steps in movements().items()}
    other = {
        "HMP_Dataset/Walk_MODEL/Accelerometer-2011-0001-walk-m1.txt": b"x",
        "HMP_Dataset/Eat_soup/Accelerometer-2011-0001-eat_soup-f1.txt": b"1 2 3",
    }
    write_zip(folder / motions.WRIST.name, {**files, **other, **(extra or {})})


def test_movements_are_split_by_person(folder: Path) -> None:
    write_movements(folder)
    task, digest = motions.wrist(anything(motions.WRIST), seed=0)
    assert task.classes == motions.PRIMITIVES
    assert [len(part.y) for part in (task.train, task.validation, task.test)] == [63, 21, 63]
    persons = []
    for part in (task.train, task.validation, task.test):
        numbers = ((part.x + 1.5) * 21).round().long()
        assert torch.equal(numbers[:, 0, 1], part.y)
        persons.append({PERSONS[j] for j in numbers[:, :, 0].unique()})
        assert part.x.shape[1:] == (64, 3)
        assert part.x.dtype == torch.float32
    assert persons[2] == {"f3", "m1", "m4"}
    assert len(persons[1]) == 1
    assert persons[1] < {"f2", "m2", "m3"}
    assert persons[0] == {"f1", "f2", "m2", "m3"} - persons[1]
    judges = []
    for seed in range(4):
        again, same = motions.wrist(anything(motions.WRIST), seed)
        assert same == digest
        assert torch.equal(again.test.x, task.test.x)
        judges.append(int(((again.validation.x[0, 0, 0] + 1.5) * 21).round()))
    assert judges == [1, 2, 3, 1]


def test_windows_go_from_the_first_step_to_the_last(folder: Path) -> None:
    ramp = np.repeat(np.arange(300, dtype=np.int64)[:, None] % 64, 3, axis=1)
    name = "HMP_Dataset/Walk/Accelerometer-2011-9999-walk-m4.txt"
    write_movements(folder, {name: text(ramp)})
    task, _ = motions.wrist(anything(motions.WRIST), seed=0)
    starts = [int(first) for first in ((task.test.x[-4:, 0, 0] + 1.5) * 21).round()]
    assert starts == [start % 64 for start in (0, 78, 157, 236)]
    assert int(((task.test.x[-1, -1, 0] + 1.5) * 21).round()) == 299 % 64


def test_one_file_of_all_movements_gives_the_same_as_the_archive(folder: Path) -> None:
    write_movements(folder)
    want = motions.read_wrist(anything(motions.WRIST))
    (folder / motions.WRIST.name).unlink()
    names, steps = list(movements()), list(movements().values())
    np.savez(
        folder / "motor_hmp" / "hmp.npz",
        data=np.concatenate(steps[::-1]),
        lengths=[len(one) for one in steps[::-1]],
        names=names[::-1],
    )
    got = motions.read_wrist(anything(motions.WRIST))
    assert got[1] == want[1]
    for (a, b, x), (c, d, z) in zip(got[0], want[0], strict=True):
        assert (a, b, x.tolist()) == (c, d, z.tolist())
    with pytest.raises(
        RuntimeError, match=r"The content of 'motor_hmp/HMP_Dataset\.zip' has SHA-256 .* expected 4cab"
    ):
        motions.read_wrist(motions.WRIST)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"1 2", "no table of three whole numbers a line"),
        (b"a b c", "no table of three whole numbers a line"),
        (b"64 0 0", "numbers from 0 to 63"),
        (b"", "numbers from 0 to 63"),
    ],
)
def test_movements_are_read_strictly(content: bytes, complaint: str, folder: Path) -> None:
    write_movements(folder, {"HMP_Dataset/Walk/Accelerometer-2011-9999-walk-m4.txt": content})
    with pytest.raises(ValueError, match=complaint):
        motions.read_wrist(anything(motions.WRIST))


STEPS = {"data": np.zeros((9, 3), np.uint8), "lengths": np.array([4, 5]), "names": np.array(["a", "b"])}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"names": None}, "has no array 'names', it has: data, lengths"),
        ({"names": np.array(["a"])}, "has no name for each of its 2 recordings"),
        ({"names": np.zeros(2)}, "has no name for each of its 2 recordings"),
        ({"data": np.zeros((9, 3))}, "has data float64 [9, 3]"),
        ({"data": np.zeros(9, np.uint8)}, "has data uint8 [9]"),
        ({"lengths": np.array([4, 4])}, "lengths, 1 or more, sum to as many steps: replace it"),
        ({"lengths": np.array([9, 0])}, "lengths, 1 or more, sum to as many steps"),
    ],
)
def test_one_file_of_all_movements_is_read_strictly(
    change: dict[str, np.ndarray | None], complaint: str, folder: Path
) -> None:
    arrays = {name: array for name, array in {**STEPS, **change}.items() if array is not None}
    np.savez(folder / "hmp.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'hmp\.npz'") as refused:
        motions.read_wrist(anything(motions.WRIST))
    assert complaint in str(refused.value)
    (folder / "hmp.npz").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"'hmp\.npz' is not an \.npz file"):
        motions.read_wrist(anything(motions.WRIST))


def pen_table(count: int) -> str:
    rng = np.random.default_rng(count)
    rows = [[*rng.integers(0, 101, 16), k % 10] for k in range(count)]
    return "\n".join(",".join(f"{number:3d}" for number in row) for row in rows)


def test_a_pens_path_keeps_the_writers_of_the_test_apart(folder: Path) -> None:
    (folder / "motor_pendigits").mkdir()
    (folder / "motor_pendigits" / "pendigits.tra").write_text(pen_table(100))
    (folder / "motor_pendigits" / "pendigits.tes.gz").write_bytes(gzip.compress(pen_table(30).encode()))
    files = tuple(anything(file) for file in motions.PEN)
    task, _ = motions.pen(files, seed=0)
    other, _ = motions.pen(files, seed=1)
    assert [len(part.y) for part in (task.train, task.validation, task.test)] == [85, 15, 30]
    assert torch.equal(task.test.x, other.test.x)
    assert not torch.equal(task.validation.x, other.validation.x)
    first = [int(number) for number in pen_table(30).split("\n")[0].split(",")]
    assert (50 * (task.test.x[0] + 1)).round().flatten().tolist() == first[:16]
    assert task.test.y[0] == first[16]
    with pytest.raises(RuntimeError, match=r"'motor_pendigits/pendigits\.tra' has SHA-256"):
        motions.pen(motions.PEN, seed=0)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("1,2,3", "lines of 16 coordinates"),
        (",".join(["101"] + ["0"] * 16), "lines of 16 coordinates"),
        (",".join(["0"] * 16 + ["10"]), "lines of 16 coordinates"),
        ("pen", "no table of whole numbers"),
    ],
)
def test_pen_tables_are_read_strictly(content: str, complaint: str, folder: Path) -> None:
    (folder / "pendigits.tra").write_text(content)  # the top of the folder will do
    with pytest.raises(ValueError, match=complaint):
        motions.read_pen(anything(motions.PEN[0]))


def sound(samples: np.ndarray, rate: int = 8000) -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples.astype("<i2").tobytes())
    return content.getvalue()


def tone(hertz: float, length: int) -> np.ndarray:
    return (12000 * np.sin(2 * np.pi * hertz * np.arange(length) / 8000)).astype(np.int16)


def test_speech_is_split_by_speaker_in_either_form(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        f"recordings/{digit}_{speaker}_{k}.wav": sound(tone(300 * digit + 200, 2000 + 100 * j + k))
        for digit in range(10)
        for j, speaker in enumerate(speech.SPEAKERS)
        for k in range(2)
    }
    write_zip(folder / speech.FILE.name, {f"free-spoken-digit-dataset-1/{k}": v for k, v in files.items()})
    task, digest = speech.speech(anything(speech.FILE), seed=0)
    assert [len(part.y) for part in (task.train, task.validation, task.test)] == [60, 20, 40]
    assert task.test.x.shape[1:] == (1, 16, 31)
    seen = [{bytes(x.numpy()) for x in part.x} for part in (task.train, task.validation, task.test)]
    assert not seen[0] & seen[2]
    assert not seen[1] & (seen[0] | seen[2])
    assert {"theo", "yweweler"} == set(speech.TEST)
    (folder / speech.FILE.name).unlink()
    with tarfile.open(folder / "interaction_fsdd" / "fsdd_recordings.tar.xz", "w:xz") as archive:
        for name, content in reversed(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    again, same = speech.speech(anything(speech.FILE), seed=0)
    assert same == digest
    assert torch.equal(again.train.x, task.train.x)
    with pytest.raises(RuntimeError, match="has SHA-256"):
        speech.speech(speech.FILE, seed=0)
    monkeypatch.setitem(SETS, "speech", replace(SETS["speech"], files=(anything(speech.FILE),)))
    made = load_stream(Stream("pmi-real", tasks=("speech",), samples=6), 0).provenance
    assert list(made["licence"]) == ["speech"]  # not those of sets that were not read
    assert made["forms"] == {"speech": ["fsdd_recordings.tar.xz"]}


def test_a_tone_is_loud_in_its_band_while_it_lasts() -> None:
    picture = speech.spectrogram(tone(1125, 4096))  # the middle of the fifth band
    assert picture.shape == (16, 31)
    assert picture.dtype == np.float32
    assert (picture[:, :14].argmax(axis=0) == 4).all()
    # a sine of amplitude 1 in a Hann window: its bin has power 1, the two beside it a quarter each
    assert picture[4, 5] == pytest.approx(np.log10(1.5e6) / 3, abs=0.01)
    assert (picture[:, 17:] == 0).all()
    assert np.array_equal(
        speech.spectrogram(tone(1125, 4096) // 2), speech.spectrogram(tone(1125, 4096) // 2)
    )
    quiet, loud = speech.spectrogram(tone(1125, 4096) // 8), picture
    assert np.abs(quiet - loud)[4].max() < 0.01
    assert (speech.spectrogram(np.zeros(100, np.int16)) == 0).all()
    assert speech.spectrogram(tone(500, 9000)).shape == (16, 31)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"no sound", "is no sound file"),
        (sound(tone(9, 50), rate=16000), "1 channels of 2 bytes at 16000 Hz"),
    ],
    ids=["broken", "rate"],
)
def test_sounds_are_read_strictly(content: bytes, complaint: str, folder: Path) -> None:
    write_zip(folder / speech.FILE.name, {"recordings/0_theo_0.wav": content})
    with pytest.raises(ValueError, match=complaint):
        speech.read(anything(speech.FILE))


def test_signs_come_from_pictures_or_from_arrays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signs, "COUNT", 80)
    image = pytest.importorskip("PIL.Image")
    files = {}
    for digit in range(10):
        for k in range(8):
            content = io.BytesIO()
            image.fromarray(np.full((100, 100, 3), 20 * digit + k, np.uint8)).save(
                content, "JPEG", quality=100
            )
            files[f"Sign-Language-Digits-Dataset-master/Dataset/{digit}/IMG_{k}.JPG"] = content.getvalue()
    files["Sign-Language-Digits-Dataset-master/Examples/example_0.JPG"] = b"another"
    write_zip(folder / "interaction_sign_digits" / "Sign-Language-Digits-Dataset-master.zip", files)
    task, _ = signs.signs(signs.FILE, seed=0)
    other, _ = signs.signs(signs.FILE, seed=1)
    assert [len(part.y) for part in (task.train, task.validation, task.test)] == [51, 9, 20]
    assert torch.equal(task.test.x, other.test.x)
    everything = torch.cat([task.train.x, task.validation.x, task.test.x])
    assert everything.shape == (80, 1, 16, 16)
    grey = (255 * everything[:, 0, 0, 0]).round().long()
    assert torch.equal(grey // 20, torch.cat([task.train.y, task.validation.y, task.test.y]))
    assert len(grey.unique()) == 80
    pixels, y = signs.read(signs.FILE)
    (folder / "interaction_sign_digits" / "Sign-Language-Digits-Dataset-master.zip").unlink()
    np.savez(folder / "interaction_sign_digits" / "sign_digits_64.npz", X=pixels[:, 0], y=y.astype(np.uint8))
    assert torch.equal(signs.signs(signs.FILE, seed=0)[0].train.x, task.train.x)
    monkeypatch.undo()
    monkeypatch.setenv("COPPICE_DATA", str(folder))
    with pytest.raises(
        ValueError, match=r"sign_digits_64\.npz has 80 pictures, but the set has 2062: replace it"
    ):
        signs.read(signs.FILE)


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"X": np.zeros((3, 32, 64), np.uint8), "y": np.zeros(3, int)}, "must have grey pictures of 64 x 64"),
        ({"X": np.zeros((3, 64, 64)), "y": np.zeros(3, int)}, "must have grey pictures of 64 x 64"),
        ({"X": np.zeros((3, 64, 64), np.uint8), "y": np.zeros(3)}, "must have grey pictures of 64 x 64"),
        ({"X": np.zeros((64, 64), np.uint8), "y": np.array(3)}, "must have grey pictures of 64 x 64"),
        (
            {"X": np.zeros((0, 64, 64), np.uint8), "y": np.zeros(0, int)},
            "has 0 pictures, but the set has 2062",
        ),
        ({"X": np.zeros((3, 64, 64), np.uint8)}, "has no array 'y', it has: X"),
    ],
)
def test_arrays_of_signs_are_read_strictly(
    arrays: dict[str, np.ndarray], complaint: str, folder: Path
) -> None:
    np.savez(folder / "sign_digits_64.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"sign_digits_64\.npz") as refused:
        signs.read(signs.FILE)
    assert complaint in str(refused.value)
    (folder / "sign_digits_64.npz").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"'sign_digits_64\.npz' is not an \.npz file"):
        signs.read(signs.FILE)


def test_whoever_is_held_out_must_be_there_and_on_one_side() -> None:
    x, y = np.zeros((4, 1), np.float32), np.array([0, 1, 0, 1])
    who = np.array(["a", "a", "b", "c"])
    rest = {"seed": 0, "classes": ("p", "q"), "group": ""}
    task = split_by_person("t", x, y, who, test=("b",), judges=("c",), **rest)  # type: ignore[arg-type]
    assert [part.y.tolist() for part in (task.train, task.validation, task.test)] == [[0, 1], [1], [0]]
    with pytest.raises(
        ValueError, match="no sample of person 'z' in 't': the data are not whole, replace them"
    ):
        split_by_person("t", x, y, who, test=("z",), judges=("c",), **rest)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError,
        match="'b' is both among the test persons and among the judges of 't': name each person once",
    ):
        split_by_person("t", x, y, who, test=("b",), judges=("b", "c"), **rest)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match="class 'p' of 't' has no sample of a person who trains: let others judge"
    ):
        split_by_person("t", x, y, who, test=("a",), judges=("b",), **rest)  # type: ignore[arg-type]


def test_archives_give_what_is_wanted_or_say_what_is_wrong(folder: Path) -> None:
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "b.txt").write_bytes(b"2")
    (folder / "deep" / "a.txt").write_bytes(b"1")
    assert members(folder / "deep", lambda name: name.endswith(".txt")) == [
        ("a.txt", b"1"),
        ("er/b.txt", b"2"),
    ]
    with pytest.raises(ValueError, match=r"'deep' in .* has none of the files looked for"):
        members(folder / "deep", lambda name: False)
    (folder / "broken.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"'broken\.zip' in .* is damaged"):
        members(folder / "broken.zip", lambda name: True)
    write_zip(folder / "locked.zip", {"a.txt": b"1"})
    content = bytearray((folder / "locked.zip").read_bytes())
    for head, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(head) + flags] |= 1  # encrypted
    (folder / "locked.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"'locked\.zip' in .* is damaged .*password"):
        members(folder / "locked.zip", lambda name: True)


def test_an_empty_folder_and_a_folder_at_the_top_are_no_forms(folder: Path) -> None:
    (folder / "set" / "Train").mkdir(parents=True)
    (folder / "Train").mkdir()
    (folder / "Train" / "a.txt").write_bytes(b"1")
    (folder / "all.npz").write_bytes(b"1")
    file = OneOf("set/Train.zip", (), "", 0, "", ("set/Train.zip", "set/Train", "set/all.npz"))
    assert file.elsewhere() == folder / "all.npz"
    (folder / "set" / "Train" / "a.txt").write_bytes(b"1")
    assert file.elsewhere() == folder / "set" / "Train"


@pytest.mark.parametrize("name", ["wrist", "pen", "signs", "speech"])
def test_a_set_that_is_not_there_says_where_it_is(name: str, folder: Path) -> None:
    assert status(name) == "not downloaded"
    with pytest.raises(FileNotFoundError, match=r"it cannot be downloaded on its own: download .*https://"):
        Stream("pmi-real", tasks=(name,)).load(0)
    for file in SETS[name].files:
        assert isinstance(file, OneOf)
        place = folder / file.forms[0]
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"")
    assert status(name) == "in COPPICE_DATA"


def originals(*names: str) -> pytest.MarkDecorator:
    data = Path(os.environ.get("COPPICE_DATA") or "absent")
    return pytest.mark.skipif(
        not all((data / name).exists() for name in names), reason="COPPICE_DATA has no such originals"
    )


@pytest.mark.slow
@originals("motor_hmp", "motor_pendigits", "interaction_sign_digits", "interaction_fsdd")
def test_the_originals_make_tasks_of_equal_size() -> None:
    made = load_stream(Stream("pmi-real", tasks=("speech", "signs", "wrist", "pen")), 0)
    assert [task.name for task in made.tasks] == ["speech", "signs", "wrist", "pen"]
    for task in made.tasks:
        assert (task.train.y.bincount() == 120).all()
        assert task.validation.y.unique().tolist() == list(range(len(task.classes)))
        assert task.test.y.unique().tolist() == list(range(len(task.classes)))
        assert torch.isfinite(task.train.x).all()
        assert task.train.x.abs().max() < 4
    assert [len(task.test.y) for task in made.tasks] == [1000, 516, 482, 3498]
    assert [task.group for task in made.tasks] == ["interaction"] * 2 + ["motor"] * 2


@pytest.mark.slow
@originals("mnist", "cifar100/train")
def test_the_original_pictures_make_tasks_of_equal_size() -> None:
    pytest.importorskip("PIL.Image")
    digits, things = Stream("pmi-real", tasks=("mnist", "cifar100")).load(0)
    assert digits.train.x.shape == (1200, 1, 14, 14)
    assert things.train.x.shape == (1200, 3, 16, 16)
    assert things.classes == cifar100.CLASSES[::10]
    assert [len(task.validation.y) for task in (digits, things)] == [200, 200]
    assert [len(task.test.y) for task in (digits, things)] == [1000, 1000]
    assert set(pmi_real.TASKS) == set(pmi_real.ORDER)


@pytest.mark.slow
@originals("cifar100/train")
def test_sheets_of_cifar100_hold_the_original_pictures() -> None:
    """The digests were taken of arrays in the order of classes and file names, height, width, channel."""
    pytest.importorskip("PIL.Image")
    train, test = hashlib.sha256(), hashlib.sha256()
    for pictures in cifar100.read(cifar100.FILE, range(100)):
        train.update(pictures.train.transpose(0, 2, 3, 1).tobytes())
        test.update(pictures.test.transpose(0, 2, 3, 1).tobytes())
    assert train.hexdigest() == "2aa2e92a742ec0fbd361b0b1386394899dfac5a05c448330d3371fd9b63b3e87"
    assert test.hexdigest() == "2716d826d85ee9ca7f948fb4dc3b3d7515225d1a436d1c4b7e6975855da3d9ee"
