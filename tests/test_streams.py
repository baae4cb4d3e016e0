"""Streams by name: what they are made of, what they refuse, and that nothing of the test leaks."""

import gzip
import hashlib
import io
import json
import pickle
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from coppice.data import SETS, cifar100, mnist, pictures, pmi_mini, status
from coppice.data.catalogue import Data
from coppice.data.fetch import RemoteFile
from coppice.data.splits import Split
from coppice.data.stream_sets import STREAMS
from coppice.data.streams import Stream, load_stream
from coppice.data.tasks import TaskData, fewer

Image = pytest.importorskip("PIL.Image")
EACH = {"train": 8, "test": 2}  # pictures of a class in the little CIFAR-100


def python2(value: object) -> bytes:
    """The body of a pickle of protocol 2 as Python 2 wrote it: text and arrays are bytes."""
    if isinstance(value, dict):
        return b"}(" + b"".join(python2(key) + python2(one) for key, one in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(python2(one) for one in value) + b"e"
    if isinstance(value, int):
        return b"J" + value.to_bytes(4, "little", signed=True)
    if isinstance(value, str):
        return b"T" + len(value).to_bytes(4, "little") + value.encode("latin1")
    assert isinstance(value, np.ndarray)
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    code = value.dtype.str[1:].encode()
    kind = b"cnumpy\ndtype\nU\x02" + code + b"K\x00K\x01\x87R"
    kind += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"(" + b"".join(python2(side) for side in value.shape) + b"t"
    content = value.tobytes().decode("latin1")
    return empty + b"(K\x01" + shape + kind + b"\x89" + python2(content) + b"tb"


def put_archive(folder: Path, batches: dict[str, bytes]) -> RemoteFile:
    path = folder / cifar100.FILE.name
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for part, content in batches.items():
            member = tarfile.TarInfo(f"cifar-100-python/{part}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    content = path.read_bytes()
    return replace(cifar100.FILE, sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def little_pictures(part: str) -> np.ndarray:
    """[class, n, 3, 32, 32]; the first two pixels of the first row tell class and number."""
    rng = np.random.default_rng(len(part))
    made = rng.integers(0, 256, (100, EACH[part], 3, 32, 32), dtype=np.uint8)
    made[:, :, :, 0, 0] = np.arange(100)[:, None, None]
    made[:, :, :, 0, 1] = np.arange(EACH[part])[:, None] + (100 if part == "test" else 0)
    return made


@pytest.fixture(scope="module")
def archive_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RemoteFile]:
    """CIFAR-100 with few pictures a class, in the original form, its pictures in no order."""
    folder, batches = tmp_path_factory.mktemp("archive"), {}
    for part, many in EACH.items():
        flat = little_pictures(part).reshape(100 * many, -1)
        mixed = np.random.default_rng(1).permutation(len(flat))
        # names within a class sort as its pictures do; those of another class may sort between them
        names = [f"thing_s_{number:06d}.png" for number in range(len(flat))]
        batches[part] = (
            b"\x80\x02"
            + python2(
                {
                    "filenames": [names[k] for k in mixed],
                    "batch_label": f"{part} batch 1 of 1",
                    "fine_labels": [int(k) // many for k in mixed],
                    "coarse_labels": [0 for _ in mixed],
                    "data": flat[mixed],
                }
            )
            + b"."
        )
    return folder, put_archive(folder, batches)


@pytest.fixture
def little_cifar(archive_folder: tuple[Path, RemoteFile], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, file = archive_folder
    monkeypatch.setenv("COPPICE_DATA", str(folder))
    monkeypatch.setattr(cifar100, "EACH", EACH)
    monkeypatch.setitem(SETS, "cifar100", replace(SETS["cifar100"], files=(file,)))


def marks(x: torch.Tensor) -> list[tuple[int, int]]:
    """(class, number) of pictures of the little CIFAR-100 in full size."""
    mean, std = (torch.tensor(values[0]) for values in (cifar100.SCALING.mean, cifar100.SCALING.std))
    return [(int(a), int(b)) for a, b in (x[:, 0, 0, :2] * std + mean).round().tolist()]


def parts(task: TaskData) -> tuple[torch.Tensor, ...]:
    return task.train.x, task.validation.x, task.test.x


FULL = Stream("split-cifar100", validation=2)


@pytest.mark.usefixtures("little_cifar")
def test_every_picture_of_the_archive_goes_to_one_task_and_one_part() -> None:
    tasks = FULL.load(0)
    assert [task.name for task in tasks] == [f"split-cifar100-{k}" for k in range(1, 11)]
    seen: set[tuple[int, int]] = set()
    for task in tasks:
        assert len(task.classes) == 10
        assert task.group == "perception"
        assert [len(x) for x in parts(task)] == [60, 20, 20]
        for x, y in (task.train, task.validation, task.test):
            assert x.dtype == torch.float32
            assert x.shape[1:] == (3, 32, 32)
            assert [task.classes[k] for k in y] == [cifar100.CLASSES[number] for number, _ in marks(x)]
            assert seen.isdisjoint(marks(x))
            seen.update(marks(x))
    assert len(seen) == 1000


@pytest.mark.usefixtures("little_cifar")
def test_sheets_of_pictures_give_the_same_as_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = load_stream(FULL, 3)
    monkeypatch.setenv("COPPICE_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"cs\.toronto\.edu"):
        FULL.load(3)
    put_sheets(tmp_path)
    assert status("cifar100") == "in COPPICE_DATA"
    got = load_stream(FULL, 3)
    assert got.provenance.pop("forms") == ["cifar100"]
    assert want.provenance.pop("forms") == ["cifar-100-python.tar.gz"]
    assert got.provenance == want.provenance
    for one, other in zip(got.tasks, want.tasks, strict=True):
        assert all(torch.equal(x, z) for x, z in zip(parts(one), parts(other), strict=True))
    apple = tmp_path / "cifar100" / "train" / "apple.webp"
    Image.fromarray(np.zeros((32, 33, 3), np.uint8)).save(apple, lossless=True)
    with pytest.raises(ValueError, match=r"apple\.webp is 33 x 32 pixels"):
        FULL.load(3)
    apple.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"apple\.webp cannot be read as a picture"):
        FULL.load(3)
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(apple, lossless=True)
    with pytest.raises(
        ValueError, match=r"'apple\.webp' in 'train' has 4 pictures, but the class has 8 there"
    ):
        FULL.load(3)
    apple.unlink()
    assert status("cifar100") == "not downloaded"
    with pytest.raises(
        FileNotFoundError, match=r"'apple\.webp' is not in .* put all 200 there, or 'cifar100/"
    ):
        FULL.load(3)


def put_sheets(folder: Path) -> None:
    for part, many in EACH.items():
        (folder / "cifar100" / part).mkdir(parents=True)
        for name, images in zip(cifar100.CLASSES, little_pictures(part), strict=True):
            sheet = images.reshape(many // 2, 2, 3, 32, 32).transpose(0, 3, 1, 4, 2).reshape(16 * many, 64, 3)
            Image.fromarray(sheet).save(folder / "cifar100" / part / f"{name}.webp", lossless=True, method=0)


@pytest.mark.usefixtures("little_cifar")
def test_the_original_archive_comes_before_sheets_and_is_checked(
    archive_folder: tuple[Path, RemoteFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, file = archive_folder
    put_sheets(tmp_path)
    shutil.copy(folder / file.name, tmp_path / file.name)
    monkeypatch.setenv("COPPICE_DATA", str(tmp_path))
    assert load_stream(FULL, 0).provenance["forms"] == ["cifar-100-python.tar.gz"]
    (tmp_path / file.name).write_bytes(b"another")
    assert status("cifar100") == "not downloaded"
    with pytest.raises(RuntimeError, match=r"has 7 bytes, expected"):
        FULL.load(0)


@pytest.mark.usefixtures("little_cifar")
def test_the_mini_form_is_small_and_its_test_never_moves() -> None:
    stream = Stream("split-cifar100-mini", samples=4, validation=2, order=7)
    first, second = stream.load(0), stream.load(1)
    assert len(first) == 4
    assert [task.classes for task in first] == [task.classes for task in second]
    for one, other in zip(first, second, strict=True):
        assert [len(x) for x in parts(one)] == [40, 20, 20]
        assert one.train.x.shape[1:] == (3, 16, 16)
        assert torch.equal(one.test.x, other.test.x)
        assert not torch.equal(one.train.x, other.train.x)
        rows = [bytes(x.numpy()) for part in parts(one) for x in part]
        assert len(set(rows)) == len(rows)


@pytest.mark.usefixtures("little_cifar")
def test_the_order_of_the_classes_is_the_runs_unless_it_is_given() -> None:
    def dealt(seed: int, **choices: object) -> list[tuple[str, ...]]:
        stream = Stream("split-cifar100-mini", samples=1, validation=1, **choices)  # type: ignore[arg-type]
        return [task.classes for task in stream.load(seed)]

    assert dealt(0) == dealt(0)
    assert dealt(0) != dealt(1)
    assert dealt(5, order=1) == dealt(1)
    assert dealt(0, order="natural")[1] == cifar100.CLASSES[10:20]
    assert dealt(0, tasks=6)[:4] == dealt(0)
    assert [len(classes) for classes in dealt(0, tasks=2, classes=3)] == [3, 3]


@pytest.mark.usefixtures("little_cifar")
def test_validation_does_not_depend_on_samples_order_or_tasks() -> None:
    def held(**choices: object) -> set[tuple[int, int]]:
        stream = Stream("split-cifar100", validation=2, **choices)  # type: ignore[arg-type]
        return {mark for task in stream.load(3) for mark in marks(task.validation.x)}

    assert held() == held(samples=1, order="natural", tasks=20)


@pytest.mark.usefixtures("little_cifar")
def test_provenance_can_be_written_and_tells_what_was_made(tmp_path: Path) -> None:
    found = json.loads(
        json.dumps(load_stream(Stream("split-cifar100-mini", samples=2, validation=1), 4).provenance)
    )
    assert found["stream"] == {
        "name": "split-cifar100-mini",
        "tasks": 4,
        "classes": 10,
        "size": 16,
        "samples": 2,
        "validation": 1,
    }
    assert found["seed"] == 4
    assert found["read_from"] == "COPPICE_DATA"
    assert found["tasks"][3]["counts"] == {"train": 20, "validation": 10, "test": 20}
    assert len(next(iter(found["sha256"].values()))) == 64
    assert str(tmp_path) not in json.dumps(found)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("boom",)


@pytest.mark.parametrize(
    ("batch", "complaint"),
    [
        (pickle.dumps(Bomb()), "asks for builtins.print"),
        (pickle.dumps({"data": np.zeros(1, dtype=object)}), "holds an array of type 'O8'"),
        (b"cnumpy\nload\n.", "asks for numpy.load"),
        (b"nonsense", "is not what CIFAR-100 has there"),
        (b"", "is not what CIFAR-100 has there"),
        (b"\x80\x02" + python2({"data": np.zeros((1, 3072), np.uint8)}) + b".", "fine_labels"),
        (
            b"\x80\x02"
            + python2({"data": np.zeros((1, 9), np.uint8), "fine_labels": [0], "filenames": ["a"]})
            + b".",
            r"has 1 names, pictures \[1, 9\] and labels \[1\]",
        ),
        (
            b"\x80\x02"
            + python2({"data": np.zeros((1, 3072), np.uint8), "fine_labels": [100], "filenames": ["a"]})
            + b".",
            "labels outside 0 to 99",
        ),
    ],
    ids=["call", "objects", "other function", "no pickle", "empty", "no labels", "shape", "label"],
)
def test_nothing_but_arrays_comes_out_of_the_archive(
    batch: bytes, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_archive(tmp_path, {"train": batch})
    with pytest.raises(ValueError, match=complaint):
        cifar100.read_batch(tmp_path / cifar100.FILE.name, "train")
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="'cifar-100-python/test' is not what"):
        cifar100.read_batch(tmp_path / cifar100.FILE.name, "test")
    (tmp_path / cifar100.FILE.name).write_bytes(b"no archive")
    with pytest.raises(ValueError, match="'cifar-100-python/train' is not what"):
        cifar100.read_batch(tmp_path / cifar100.FILE.name, "train")


def test_pictures_shrink_by_the_mean_of_squares() -> None:
    picture = np.array([[1, 3, 0, 0], [5, 7, 0, 2], [8, 8, 9, 9], [8, 8, 9, 9]], dtype=np.uint8)[None, None]
    assert pictures.shrink(picture, 2).tolist() == [[[[4, 0.5], [8, 9]]]]
    assert pictures.shrink(picture, 4).tolist() == picture.tolist()
    with pytest.raises(ValueError, match=r"size is 3, but pictures of 4 x 4 pixels .* 1, 2, 4"):
        pictures.shrink(picture, 3)
    with pytest.raises(ValueError, match="size is 8"):
        pictures.shrink(picture, 8)


@pytest.mark.parametrize(
    ("choices", "complaint"),
    [
        ({"name": "split-cifar10"}, "Did you mean 'split-cifar100'"),
        ({"tasks": 0}, "tasks is 0"),
        ({"tasks": True}, "tasks is True"),
        ({"tasks": ("apple",)}, "those of 'split-cifar100' have no names: give their number"),
        ({"classes": 1}, "classes is 1"),
        ({"order": -1}, "order is -1"),
        ({"order": "random"}, "order is 'random'"),
        ({"size": 0}, "size is 0"),
        ({"samples": 0}, "samples is 0"),
        ({"validation": 1.0}, "validation is 1.0"),
        ({"validation": 0}, "validation is 0"),
    ],
)
def test_choices_that_cannot_be_meant_are_refused(choices: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Stream(**{"name": "split-cifar100", **choices})  # type: ignore[arg-type]


@pytest.mark.usefixtures("little_cifar")
@pytest.mark.parametrize(
    ("choices", "complaint"),
    [
        ({"tasks": 7}, "tasks can be 1, 2, 4, 5, 10, 20, 25, 50"),
        ({"tasks": 11, "classes": 10}, "take 110 classes, but there are 100: tasks can be at most 10"),
        ({"size": 5}, "size is 5"),
        (
            {"samples": 8},
            r"samples = 8 and validation = 0.1 \(1 samples\) .* 8 samples of the class '\w+': samples = 7 is",
        ),
        ({"validation": 8}, "lower validation"),
    ],
)
def test_what_the_data_cannot_give_is_refused(choices: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Stream("split-cifar100", **choices).load(0)  # type: ignore[arg-type]


def test_a_seed_is_a_whole_number() -> None:
    with pytest.raises(ValueError, match="seed is -1"):
        load_stream(FULL, -1)


def test_a_set_of_tasks_is_no_table_of_samples() -> None:
    with pytest.raises(ValueError, match="'cifar100', which is learned task by task"):
        Data("cifar100")


def test_every_stream_reads_known_sets() -> None:
    assert len(STREAMS) >= 5
    for name, kind in STREAMS.items():
        assert set(kind.sources) <= set(SETS)
        assert Stream(name).settled().tasks


def idx(array: np.ndarray) -> bytes:
    head = bytes((0, 0, 8, array.ndim)) + b"".join(side.to_bytes(4, "big") for side in array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes(), mtime=0)


@pytest.fixture
def little_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MNIST with 12 training and 3 test pictures a digit."""
    rng = np.random.default_rng(0)
    (tmp_path / "mnist").mkdir()
    files = []
    for file in mnist.FILES:
        count = 120 if "train" in file.name else 30
        images = "images" in file.name
        content = idx(rng.integers(0, 256, (count, 28, 28)) if images else np.arange(count) % 10)
        (tmp_path / file.name).write_bytes(content)
        files.append(replace(file, sha256=hashlib.sha256(content).hexdigest(), size=len(content)))
    monkeypatch.setenv("COPPICE_DATA", str(tmp_path))
    monkeypatch.setitem(SETS, "mnist", replace(SETS["mnist"], files=tuple(files)))


@pytest.mark.usefixtures("little_mnist")
def test_mnist_is_split_two_digits_at_a_time() -> None:
    made = load_stream(Stream("split-mnist", order="natural", size=14, samples=5, validation=3), 0)
    assert [task.classes for task in made.tasks] == [
        ("0", "1"),
        ("2", "3"),
        ("4", "5"),
        ("6", "7"),
        ("8", "9"),
    ]
    assert [tuple(x.shape) for x in parts(made.tasks[0])] == [(10, 1, 14, 14), (6, 1, 14, 14), (6, 1, 14, 14)]
    assert 0.4 < made.tasks[0].train.x.mean() < 0.6
    assert made.provenance["source"] == sorted(made.provenance["source"])
    assert len(made.provenance["source"]) == 1


@pytest.mark.usefixtures("little_mnist")
def test_permuted_mnist_is_the_same_pictures_with_other_orders_of_pixels() -> None:
    stream = Stream("permuted-mnist", tasks=3, samples=4, validation=2)
    plain, first, second = stream.load(0)
    assert [task.name for task in (plain, first, second)] == [f"permuted-mnist-{k}" for k in (1, 2, 3)]
    assert torch.equal(plain.train.x.flatten(1).sort(1)[0], first.train.x.flatten(1).sort(1)[0])
    assert not torch.equal(plain.train.x, first.train.x)
    assert not torch.equal(second.train.x, first.train.x)
    assert plain.classes == first.classes == tuple("0123456789")
    fixed = replace(stream, order=0)
    pixels = [task.test.x for task in fixed.load(1)]
    assert all(torch.equal(x, task.test.x) for x, task in zip(pixels, (plain, first, second), strict=True))
    with pytest.raises(ValueError, match="order is 'natural', but the order of the pixels is drawn"):
        replace(stream, order="natural").load(0)
    with pytest.raises(
        ValueError, match=r"classes = 5 has no meaning for 'permuted-mnist', which has tasks, order"
    ):
        Stream("permuted-mnist", classes=5)


def test_pmi_mini_takes_its_tasks_in_any_order() -> None:
    pytest.importorskip("gymnasium")
    names = ("scenes", "cart-pole", "tracks")
    made = load_stream(Stream(tasks=names, samples=50), 1)
    again = load_stream(Stream(tasks=names[::-1], samples=50), 1)
    assert tuple(task.name for task in made.tasks) == names
    assert [len(task.train.y) for task in made.tasks] == [250, 100, 250]
    for one, other in zip(made.tasks, again.tasks[::-1], strict=True):
        assert all(torch.equal(x, z) for x, z in zip(parts(one), parts(other), strict=True))
    assert made.provenance["sha256"] == again.provenance["sha256"]
    assert Stream().settled().tasks == pmi_mini.ORDER
    with pytest.raises(
        ValueError, match=r"samples is 500, but class '\w+' of 'scenes' has 255 training samples"
    ):
        Stream(tasks=("scenes",), samples=500).load(0)


@pytest.mark.parametrize(
    ("choices", "complaint"),
    [
        ({"tasks": ("scene",)}, "'scene' is no task of 'pmi-mini', .* Did you mean 'scenes'"),
        ({"tasks": ("scenes", "scenes")}, "'scenes' is named twice"),
        ({"tasks": 2}, "those of 'pmi-mini' are named: give a list"),
        ({"tasks": ()}, "those of 'pmi-mini' are named: give a list"),
        ({"size": 8}, "size = 8 has no meaning for 'pmi-mini', which has tasks, samples"),
    ],
)
def test_tasks_are_known_by_their_names(choices: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Stream("pmi-mini", **choices)  # type: ignore[arg-type]


def test_fewer_samples_keep_what_is_held_out() -> None:
    y = torch.tensor([0, 1, 0, 1, 0, 1, 1])
    held = Split(torch.zeros(2, 1), torch.tensor([0, 1]))
    task = TaskData("t", Split(torch.arange(7.0)[:, None], y), held, held, ("a", "b"))
    drawn = fewer(task, 3, seed=0)
    assert drawn.train.x.flatten().tolist() == sorted(drawn.train.x.flatten().tolist())
    assert drawn.train.y.tolist() == y[drawn.train.x.flatten().long()].tolist()
    assert drawn.train.y.bincount().tolist() == [3, 3]
    assert drawn.validation is held
    assert drawn.test is held
    with pytest.raises(ValueError, match="samples is 4, but class 'a' of 't' has 3"):
        fewer(task, 4)
    with pytest.raises(ValueError, match="samples is 0"):
        fewer(task, 0)
