"""Motor skills: known controllers of Gymnasium's classic environments, states to clone them from, returns in the loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coppice.data.controllers import cart_pole, drive, pendulum, pump
from coppice.data.extras import need
from coppice.data.splits import TEST_SEED, Split, whole_number
from coppice.data.tasks import TaskData, cut

NOISE = 0.3  # most of the actions of an episode that are drawn at random; each episode draws its own share
STEPS = 120  # of an episode that are collected: later ones repeat the balance of a pole
TRAINING, TESTING, SCORING = 0, 1, 2  # an episode's seed modulo 3: no start is ever used for two purposes


@dataclass(frozen=True)
class Plant:
    """An environment, what can be done in it, and the controller whose choice is the label of a state.

    `actions` holds the environment's action of each class. `units` divide an observation: what a network sees is
    about 1 in size, by constants of physics and none of the data. `controller` maps observations [m, d], before
    that division, to classes [m].
    """

    name: str
    environment: str
    classes: tuple[str, ...]
    actions: tuple[Any, ...]
    units: tuple[float, ...]
    controller: Callable[[NDArray[np.float64]], NDArray[np.int64]]


TORQUES = (-2.0, -1.0, 0.0, 1.0, 2.0)  # newton metres
PLANTS = {
    plant.name: plant
    for plant in (
        Plant(
            "cart-pole", "CartPole-v1", ("push left", "push right"), (0, 1), (0.5, 0.5, 0.1, 0.5), cart_pole
        ),
        Plant(
            "acrobot",
            "Acrobot-v1",
            ("turn back", "turn forth"),
            (0, 2),
            (1.0, 1.0, 1.0, 1.0, 4.0, 8.0),
            pump,
        ),
        Plant("mountain-car", "MountainCar-v0", ("drive left", "drive right"), (0, 2), (1.0, 0.05), drive),
        Plant(
            "pendulum",
            "Pendulum-v1",
            tuple(f"{torque:+.0f} N m" for torque in TORQUES),
            tuple(np.array([torque], dtype=np.float32) for torque in TORQUES),
            (1.0, 1.0, 4.0),
            lambda observed: pendulum(observed, TORQUES),
        ),
    )
}


class Score(NamedTuple):
    """Mean returns over the same seeded episodes: of a policy, of the known controller, of random actions."""

    policy: float
    controller: float
    random: float

    @property
    def share(self) -> float:
        """(policy - random) / (controller - random): 1 for a policy as good as the controller, 0 as bad as chance."""
        return (self.policy - self.random) / (self.controller - self.random)


def control(
    name: str,
    seed: int,
    *,
    episodes: int = 30,
    test_episodes: int = 10,
    states: int = 50,
    validation: float | int = 0.2,
) -> TaskData:
    """Clone a known controller: x [n, d] float32 are states of an environment, y what the controller does in each.

    States are collected along trajectories of the controller with noise: of each episode's actions a share, drawn
    between 0 and 0.3, is random, so that a clone also learns the way back; the label is always the controller's
    own choice. Of the first 120 steps of an episode up to `states` states are kept, drawn at random. Split by episode: `validation` is a
    share or a count of the `episodes`, and the test episodes are the same for every seed. Noise: Laskey et al.
    2017 (DART). The physics is floating point: other processors may give other last digits, hence other episodes.
    ValueError: an unknown name (see PLANTS), bad sizes. ModuleNotFoundError: no Gymnasium.
    """
    plant = _plant(name)
    whole_number("seed", seed, least=0)
    for option, value, least in (
        ("episodes", episodes, 2),
        ("test_episodes", test_episodes, 1),
        ("states", states, 1),
    ):
        whole_number(option, value, least)
    train, groups = _collect(plant, episodes, states, seed, TRAINING)
    test, _ = _collect(plant, test_episodes, states, TEST_SEED, TESTING)
    return cut(
        name,
        train,
        test,
        validation=validation,
        seed=seed,
        episodes=groups,
        classes=plant.classes,
        group="motor",
    )


def score(policy: Callable[[Tensor], Any], name: str, *, episodes: int = 20, seed: int = 0) -> Score:
    """Put a policy in the loop: its mean return over `episodes` seeded episodes, beside controller and chance.

    `policy` maps states [m, d] float32, scaled as the x of `control`, to classes [m]; all running episodes are asked
    at once. A network: `lambda states: network(states).argmax(1)`. No start was used for training or test states.
    ValueError: an unknown name, or an answer that is no class for each state.
    """
    plant = _plant(name)
    whole_number("episodes", episodes, least=1)
    whole_number("seed", seed, least=0)
    units = np.asarray(plant.units)

    def act(observed: NDArray[np.float64], running: NDArray[np.int64]) -> NDArray[np.int64]:
        answer = policy(torch.from_numpy((observed / units).astype(np.float32)))
        chosen = answer.detach().cpu().numpy() if isinstance(answer, Tensor) else np.asarray(answer)
        if chosen.shape != running.shape or chosen.dtype.kind not in "iu":
            raise ValueError(
                f"The policy answered {chosen.dtype} {list(chosen.shape)} for {len(running)} states, but it must give "
                f"one class number for each: [{len(running)}] whole numbers; take argmax(1) of a network's output."
            )
        if chosen.min() < 0 or chosen.max() >= len(plant.classes):
            raise ValueError(
                f"The policy answered class {chosen.max() if chosen.min() >= 0 else chosen.min()}, but '{name}' has "
                f"the classes 0 to {len(plant.classes) - 1}."
            )
        return chosen.astype(np.int64)

    own = float(_roll(plant, act, _seeds(seed, SCORING, episodes)).mean())
    return Score(own, *_references(name, episodes, seed))


@cache  # two numbers; a stream scores the same episodes after every task
def _references(name: str, episodes: int, seed: int) -> tuple[float, float]:
    plant, starts = PLANTS[name], _seeds(seed, SCORING, episodes)
    rng = np.random.default_rng((SCORING, seed))
    known = _roll(plant, lambda observed, running: plant.controller(observed), starts)
    blind = _roll(
        plant, lambda observed, running: rng.integers(len(plant.classes), size=len(running)), starts
    )
    return float(known.mean()), float(blind.mean())


def _collect(
    plant: Plant, episodes: int, states: int, seed: int, purpose: int
) -> tuple[Split, NDArray[np.int64]]:
    rng = np.random.default_rng((purpose, seed))
    noise = rng.uniform(0, NOISE, episodes)
    seen: list[list[NDArray[np.float64]]] = [[] for _ in range(episodes)]

    def act(observed: NDArray[np.float64], running: NDArray[np.int64]) -> NDArray[np.int64]:
        for episode, state in zip(running, observed, strict=True):
            seen[episode].append(state)
        astray = rng.random(episodes)[running] < noise[running]
        blind = rng.integers(len(plant.classes), size=episodes)[running]
        return np.where(astray, blind, plant.controller(observed))

    _roll(plant, act, _seeds(seed, purpose, episodes), most=STEPS)
    kept, groups = [], []
    for episode, path in enumerate(seen):
        chosen = np.sort(rng.permutation(len(path))[:states])
        kept.append(np.stack(path)[chosen])
        groups.append(np.full(len(chosen), episode))
    observed = np.concatenate(kept)
    x = torch.from_numpy((observed / np.asarray(plant.units)).astype(np.float32))
    return Split(x, torch.from_numpy(plant.controller(observed))), np.concatenate(groups)


def _roll(
    plant: Plant,
    act: Callable[[NDArray[np.float64], NDArray[np.int64]], NDArray[np.int64]],
    seeds: Sequence[int],
    most: int | None = None,
) -> NDArray[np.float64]:
    """The return of an episode from each seed, all in step: `act` gets the running ones' observations and numbers.

    After `most` steps all are stopped.
    """
    make = need("gymnasium", "control").make
    worlds = [make(plant.environment, disable_env_checker=True) for _ in seeds]
    observed = np.stack([world.reset(seed=start)[0] for world, start in zip(worlds, seeds, strict=True)])
    observed = observed.astype(np.float64)
    returns = np.zeros(len(seeds))
    running = np.arange(len(seeds))
    steps = 0
    while running.size and steps != most:
        steps += 1
        going = []
        for episode, chosen in zip(running, act(observed[running], running), strict=True):
            state, reward, ended, timed_out, _ = worlds[episode].step(plant.actions[chosen])
            observed[episode] = state
            returns[episode] += reward
            if not (ended or timed_out):
                going.append(episode)
        running = np.array(going, dtype=np.int64)
    for world in worlds:
        world.close()
    return returns


def _seeds(seed: int, purpose: int, count: int) -> list[int]:
    rng = np.random.default_rng((purpose, seed, 1))
    return [3 * int(number) + purpose for number in rng.integers(2**29, size=count)]


def _plant(name: str) -> Plant:
    if name not in PLANTS:
        raise ValueError(f"'{name}' is no motor task: there are {', '.join(PLANTS)}.")
    return PLANTS[name]
