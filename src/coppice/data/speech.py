"""Spoken digits: 3000 recordings of six speakers, as small pictures of loudness over time and pitch."""

import hashlib
import io
import re
import wave

import numpy as np
from numpy.typing import NDArray

from coppice.data.fetch import RemoteFile, fetch
from coppice.data.forms import OneOf, check, members
from coppice.data.persons import split_by_person
from coppice.data.tasks import TaskData

RATE = 8000  # samples a second
LENGTH = 8192  # samples that are looked at: a second, more than all but the longest take
FRAME = 512  # samples of a spectrum
HOP = 256  # samples between two of them
BANDS = 16  # of 250 Hz
FLOOR = 1e-6  # power at which silence begins, of a full-scale sine's
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
TEST, JUDGES = SPEAKERS[4:], SPEAKERS[:4]
RECORDING = re.compile(r"(?:^|/)(\d)_([a-z]+)_(\d+)\.wav$")

FILE = OneOf(
    "interaction_fsdd/free-spoken-digit-dataset.zip",
    (),
    "c8561bca57f668363317b9a5c554392cae37561fa99077368d9a9f32b9618584",
    0,
    "download the repository https://github.com/Jakobovski/free-spoken-digit-dataset as .zip and put it there",
    (
        "interaction_fsdd/free-spoken-digit-dataset.zip",
        "interaction_fsdd/free-spoken-digit-dataset-master.zip",  # as a browser saves it
        "interaction_fsdd/free-spoken-digit-dataset",
        "interaction_fsdd/fsdd_recordings.tar.xz",
    ),
)


def read(file: RemoteFile) -> tuple[list[tuple[int, str, NDArray[np.int16]]], str]:
    """Recordings by file name: digit, speaker, sound [sample] at 8 kHz; and the SHA-256 of names and sounds.

    ValueError: no sounds, or others than 16 bit, 8 kHz, one channel; RuntimeError: other recordings; errors of `fetch`
    pass.
    """
    found, content = [], hashlib.sha256()
    named = members(fetch(file), lambda name: RECORDING.search(name) is not None)
    for name, recording in sorted((name.rpartition("/")[2], recording) for name, recording in named):
        digit, speaker, _ = name.split("_")  # as RECORDING has it
        sound = _sound(name, recording)
        content.update(name.encode() + sound.tobytes())
        found.append((int(digit), speaker, sound))
    check(file, content.hexdigest())
    return found, content.hexdigest()


def spectrogram(sound: NDArray[np.int16]) -> NDArray[np.float32]:
    """Loudness [16 bands, 31 moments] of the first 8192 samples, quiet after the end: 0 is silence, 2 a loud tone.

    Power of each band of 250 Hz in frames of 64 ms, Hann window, every 32 ms, of the sound scaled to a peak of 1; log10
    of it over the floor of -60 dB, in units of 30 dB.
    """
    padded = np.zeros(LENGTH)
    loudest = np.abs(sound.astype(np.float64)).max(
        initial=1
    )  # microphones differ, and stand nearer or farther
    padded[: len(sound)] = sound[:LENGTH] / loudest
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP]
    window = np.hanning(FRAME + 1)[:-1]
    power = np.abs(np.fft.rfft(frames * window)[:, 1:] / (window.sum() / 2)) ** 2
    bands = power.reshape(len(frames), BANDS, -1).sum(axis=2)
    loud: NDArray[np.float32] = (np.log10(np.maximum(bands, FLOOR) / FLOOR) / 3).T.astype(np.float32)
    return loud


def speech(file: RemoteFile, seed: int) -> tuple[TaskData, str]:
    """Tell ten spoken digits apart: x [n, 1, 16, 31], see `spectrogram`; and the digest.

    Split by speaker: theo and yweweler are the test, one of the others, by `seed`, the validation. Jackson et al., Free
    Spoken Digit Dataset.
    """
    recordings, digest = read(file)
    task = split_by_person(
        "speech",
        np.stack([spectrogram(sound) for _, _, sound in recordings])[:, None],
        np.array([digit for digit, _, _ in recordings], dtype=np.int64),
        np.array([speaker for _, speaker, _ in recordings]),
        test=TEST,
        judges=JUDGES,
        seed=seed,
        classes=tuple("0123456789"),
        group="interaction",
    )
    return task, digest


def _sound(name: str, recording: bytes) -> NDArray[np.int16]:
    try:
        with wave.open(io.BytesIO(recording)) as opened:
            form = opened.getnchannels(), opened.getsampwidth(), opened.getframerate()
            samples = opened.readframes(opened.getnframes())
    except (wave.Error, EOFError) as broken:
        raise ValueError(f"{name} is no sound file ({broken}): replace it.") from broken
    if form != (1, 2, RATE):
        raise ValueError(
            f"{name} has {form[0]} channels of {form[1]} bytes at {form[2]} Hz, expected 1, 2, {RATE}: replace it."
        )
    return np.frombuffer(samples, dtype="<i2")
