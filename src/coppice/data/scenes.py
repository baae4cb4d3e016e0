"""Scenes of two agents that approach, avoid, follow, hand over or collide: a small simulator, and its pictures."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from coppice.data.splits import TEST_SEED, Split, whole_number
from coppice.data.tasks import TaskData, cut

Floats = NDArray[np.float64]

KINDS = ("approach", "avoid", "follow", "hand over", "collide")
STEPS = 24  # moments of a scene
SIDE = 16  # pixels; the agents start 0.35 to 0.8 of the side apart
INERTIA = 0.4  # share of the velocity that a step keeps; the rest turns into the wanted one
SWAY = 0.006  # standard deviation of each step's random displacement, in sides
BLOB = 0.05  # standard deviation of an agent's spot in the picture, in sides
GLOW = 0.3  # light that a spot adds in the last step, of white; in earlier ones it has faded
GRAIN = 0.03  # standard deviation of the noise of a pixel, of white
CONTACT = 0.08  # distance of a collision, in sides
HEED = 0.38  # distance at which agents begin to avoid each other, in sides
DRAWS = 14  # uniform numbers that make a scene


@dataclass
class _Pair:
    """Many scenes of one kind at a moment: columns [n, 1] and vectors [n, 2]; first agent a, second agent b."""

    a: Floats
    b: Floats
    va: Floats  # velocities, sides per step
    vb: Floats
    speed_a: Floats
    speed_b: Floats
    meeting: Floats  # where two that go straight would meet, at the same moment
    walk: Floats  # unit vector of b's own way
    bend: Floats  # radians a step that this way turns
    reach: Floats  # distance of two that are together
    hold: Floats  # steps of a pause
    side: Floats  # -1 or 1: where one gives way
    part_a: Floats  # unit vectors of the ways after a meeting
    part_b: Floats
    phase: Floats  # 0 before the meeting, 1 in it, 2 after
    waited: Floats

    @property
    def apart(self) -> Floats:
        return self.b - self.a

    @property
    def distance(self) -> Floats:
        return _length(self.apart)

    @property
    def nearing(self) -> Floats:
        """How fast the two come nearer, sides per step."""
        return ((self.va - self.vb) * _unit(self.apart)).sum(axis=1, keepdims=True)

    def straight(self) -> tuple[Floats, Floats]:
        """Velocities of two that arrive at the meeting point together: the slower walks at its speed."""
        way_a, way_b = self.meeting - self.a, self.meeting - self.b
        steps = np.maximum(_length(way_a) / self.speed_a, _length(way_b) / self.speed_b)
        return way_a / np.maximum(steps, 1.0), way_b / np.maximum(steps, 1.0)


def _approach(now: _Pair) -> tuple[Floats, Floats]:
    """The first goes to the second, slows and stays within reach; the second lingers on a slow way of its own."""
    slow = np.clip((now.distance - now.reach) / 0.12, 0, 1)
    linger = 0.35 * np.clip((now.distance - now.reach) / 0.3, 0, 1)
    return _unit(now.apart) * now.speed_a * slow, now.walk * now.speed_b * linger


def _avoid(now: _Pair) -> tuple[Floats, Floats]:
    """Both go towards one point, give way to the same hand as they come near, and walk on once they have passed."""
    veer = 1.2 * now.side * np.clip((HEED - now.distance) / 0.2, 0, 1) * (now.nearing > 0)
    # the ways after the meeting are their first headings
    return _turn(now.part_a, veer) * now.speed_a, _turn(now.part_b, veer) * now.speed_b


def _follow(now: _Pair) -> tuple[Floats, Floats]:
    """The second walks its bending way; the first goes to a point behind it, and keeps that place."""
    own = now.walk * np.minimum(now.speed_b, 0.85 * now.speed_a)
    behind = now.b - now.walk * now.reach - now.a
    return _unit(behind) * np.minimum(0.5 * _length(behind), 1.2 * now.speed_a), own


def _hand_over(now: _Pair) -> tuple[Floats, Floats]:
    """Both go to each other and slow down, stand within reach for a while, then part on ways of their own."""
    now.phase = np.where((now.phase == 0) & (now.distance < 1.1 * now.reach), 1.0, now.phase)
    now.waited = now.waited + (now.phase == 1)
    now.phase = np.where((now.phase == 1) & (now.waited > now.hold), 2.0, now.phase)
    slow = np.clip((now.distance - now.reach) / 0.12, 0.2, 1) * (now.phase == 0)
    come, gone = _unit(now.apart) * slow, now.phase == 2
    return (come + now.part_a * gone) * now.speed_a, (now.part_b * gone - come) * now.speed_b


def _collide(now: _Pair) -> tuple[Floats, Floats]:
    """Both go to one point without slowing; at contact they rebound along the line between them, and roll on."""
    hit = (now.phase == 0) & (now.distance < CONTACT)
    push = 0.9 * now.nearing * _unit(now.apart)  # equal masses, restitution 0.8
    now.va, now.vb = np.where(hit, now.va - push, now.va), np.where(hit, now.vb + push, now.vb)
    now.part_a, now.part_b = np.where(hit, now.va, now.part_a), np.where(hit, now.vb, now.part_b)
    now.phase = np.where(hit, 2.0, now.phase)
    straight_a, straight_b = now.straight()
    correct = 0.5 * now.apart  # they do not see the sway of the other, but must meet
    before = now.phase == 0
    fast_a, fast_b = _length(straight_a), _length(straight_b)
    aim_a = _unit(straight_a + correct * fast_a) * np.maximum(fast_a, 0.02)
    aim_b = _unit(straight_b - correct * fast_b) * np.maximum(fast_b, 0.02)
    return np.where(before, aim_a, now.part_a), np.where(before, aim_b, now.part_b)


RULES = dict(zip(KINDS, (_approach, _avoid, _follow, _hand_over, _collide), strict=True))


def simulate(
    numbers: NDArray[np.int64], seed: int, *, test: bool = False
) -> tuple[Floats, NDArray[np.int64]]:
    """Scenes number `numbers` [n] of a seed: positions [n, 24, agent, xy] in sides of the picture, kinds [n] in 0..4.

    Scene k is of kind k mod 5 and always the same, whichever others are asked for. Start, angle, speeds, ways, the
    moment of the first step, and which agent takes which part are drawn; each step sways. The whole scene is moved
    so that its mean position is the centre; an agent may walk out of the picture. The kinds are defined by the rules of motion above (`RULES`).
    """
    streams = [np.random.default_rng((int(test), seed, int(number))) for number in numbers]
    uniform = np.array([stream.random(DRAWS) for stream in streams]).reshape(-1, DRAWS)
    sway = np.array([stream.standard_normal((STEPS, 2, 2)) for stream in streams]).reshape(-1, STEPS, 2, 2)
    kinds = np.asarray(numbers, dtype=np.int64) % len(KINDS)
    places = np.empty_like(sway)
    for kind, name in enumerate(KINDS):
        mine = kinds == kind
        places[mine] = _act(name, uniform[mine], SWAY * sway[mine])
    places += 0.5 - places.mean(axis=(1, 2), keepdims=True)
    swapped = uniform[:, 13] < 0.5
    places[swapped] = places[swapped][:, :, ::-1]
    return places, kinds


def picture(places: Floats, numbers: NDArray[np.int64], seed: int, *, test: bool = False) -> Floats:
    """Frames [n, 2, 16, 16] in [0, 1]: a channel for each agent, its trail the brighter the later and slower.

    Each pixel has noise. Values are whole multiples of 1/255, so that the last digits of exp, which differ between machines, do not show.
    """
    grid = (np.arange(SIDE) + 0.5) / SIDE
    frames = np.zeros((len(places), 2, SIDE, SIDE))
    for t in range(STEPS):
        across, down = np.exp(-((places[:, t, :, :, None] - grid) ** 2) / (2 * BLOB**2)).transpose(2, 0, 1, 3)
        frames += GLOW * (t + 1) / STEPS * down[..., :, None] * across[..., None, :]
    for frame, number in zip(frames, numbers, strict=True):
        frame += GRAIN * np.random.default_rng((2 + int(test), seed, int(number))).standard_normal(
            frame.shape
        )
    return np.rint(255 * frames.clip(0, 1)) / 255


def scenes(
    seed: int, *, train: int = 1500, test: int = 500, validation: float | int = 0.15, view: str = "frames"
) -> TaskData:
    """Tell the five kinds apart, from pictures or from the tracks of the agents; both views are of the same scenes.

    `view` "frames": x [n, 2, 16, 16] in [0, 1]; "tracks": x [n, 24, 4], places (x, y of one agent, x, y of the other)
    in quarters of the side, from the centre. Every scene has a seed of its own; the `train` scenes, of which
    `validation` are cut, differ with `seed`, the `test` scenes never do. ValueError: an unknown view, bad sizes.
    """
    whole_number("seed", seed, least=0)
    whole_number("train", train, least=2 * len(KINDS))
    whole_number("test", test, least=len(KINDS))
    if view not in ("frames", "tracks"):
        raise ValueError(f"view is {view!r}, but a scene can be seen as 'frames' or 'tracks'.")
    parts = []
    for count, stream, held in ((train, seed, False), (test, TEST_SEED, True)):
        numbers = np.arange(count)
        places, kinds = simulate(numbers, stream, test=held)
        if view == "frames":
            x = picture(places, numbers, stream, test=held)
        else:
            x = 4 * (places.reshape(count, STEPS, 4) - 0.5)
        parts.append(Split(torch.from_numpy(x.astype(np.float32)), torch.from_numpy(kinds)))
    name = "scenes" if view == "frames" else view
    return cut(name, *parts, validation=validation, seed=seed, classes=KINDS, group="interaction")


def _act(kind: str, uniform: Floats, sway: Floats) -> Floats:
    now, late = _cast(kind, uniform)
    places = np.empty_like(sway)
    for t in range(STEPS):
        places[:, t, 0], places[:, t, 1] = now.a, now.b
        wanted_a, wanted_b = RULES[kind](now)
        begun = t >= late
        now.va = INERTIA * now.va + (1 - INERTIA) * wanted_a * begun
        now.vb = INERTIA * now.vb + (1 - INERTIA) * wanted_b * begun
        now.a, now.b = now.a + now.va + sway[:, t, 0], now.b + now.vb + sway[:, t, 1]
        now.walk = _turn(now.walk, now.bend)
    return places


def _cast(kind: str, uniform: Floats) -> tuple[_Pair, Floats]:
    """The scenes before their first step, and the step at which each begins [n, 1]."""

    def between(k: int, low: float, high: float) -> Floats:
        return low + (high - low) * uniform[:, k : k + 1]

    angle, half = between(0, 0, 2 * np.pi), between(1, 0.175, 0.4)
    line = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    a, b = -half * line, half * line
    turning = between(2, -1, 1)
    meeting = between(3, -0.1, 0.1) * line + between(4, -0.32, 0.32) * _turn(
        line, np.full_like(angle, np.pi / 2)
    )
    none = np.zeros_like(a)
    now = _Pair(
        a=a,
        b=b,
        va=none,
        vb=none,
        speed_a=between(5, 0.03, 0.06),
        speed_b=between(6, 0.025, 0.06),
        meeting=meeting,
        walk=_turn(line, 2.2 * turning),
        bend=0.05 * turning,
        reach=between(7, 0.09, 0.15),
        hold=between(8, 1, 6),
        side=np.sign(uniform[:, 9:10] - 0.5),
        part_a=_turn(-line, between(10, -1.5, 1.5)),
        part_b=_turn(line, between(11, -1.5, 1.5)),
        phase=np.zeros_like(angle),
        waited=np.zeros_like(angle),
    )
    if kind == "avoid":
        first_a, first_b = now.straight()
        now.part_a, now.part_b = _unit(first_a), _unit(first_b)
        now.speed_a, now.speed_b = _length(first_a), _length(first_b)
    return now, np.floor(8 * uniform[:, 12:13])


def _length(vectors: Floats) -> Floats:
    return np.sqrt((vectors**2).sum(axis=1, keepdims=True))


def _unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(_length(vectors), 1e-9)


def _turn(vectors: Floats, angles: Floats) -> Floats:
    cos, sin = np.cos(angles[:, 0]), np.sin(angles[:, 0])
    return np.stack(
        [cos * vectors[:, 0] - sin * vectors[:, 1], sin * vectors[:, 0] + cos * vectors[:, 1]], axis=1
    )
