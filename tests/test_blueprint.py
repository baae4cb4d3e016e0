import copy
import json
from pathlib import Path

import pytest
import safetensors
import torch
from hypothesis import given, settings
from torch import nn, tensor
from torch.nn.utils.prune import identity
from torch.testing import assert_close

from coppice.models import Model
from coppice.parts import snapshot, storage
from coppice.parts.blueprint import KNOWN, build, describe, load_model, save_model
from coppice.parts.layers import ShrunkLayerNorm
from coppice.parts.masks import Masks
from coppice.parts.neurons import populations
from coppice.parts.surgery import compact, count_parameters, keep_neurons
from strategies import Plan, doomed, kill

MODELS = {
    "mlp": (Model(hidden=(8, 6)), (5,)),
    "mlp batch": (Model(hidden=(8, 6), norm="batch", activation="gelu"), (5,)),
    "mlp layer": (Model(hidden=(8, 6), norm="layer", output="sigmoid"), (1, 2, 3)),
    "convnet": (Model(name="convnet", channels=(4, 3), hidden=(6,)), (1, 8, 8)),
    "convnet batch": (Model(name="convnet", channels=(4,), hidden=(), norm="batch"), (2, 4, 4)),
}


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(self.norm(self.first(x)).relu())


@pytest.mark.parametrize("shrunken", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_the_papers_networks_come_back_from_the_file_alone(tmp_path: Path, name: str, shrunken: bool):
    plan, shape = MODELS[name]
    model = plan.build(shape, 3)
    x = torch.randn(4, *shape)
    model(x)  # moves the running statistics
    if shrunken:
        for population in populations(model):
            kill(model, population, [0, 2], wholly=True)
        compact(model)
    save_model(model, tmp_path / "model.safetensors", accuracy=0.9)
    loaded = load_model(tmp_path / "model.safetensors")
    assert [repr(m) for m in loaded.modules()] == [repr(m) for m in model.modules()]
    assert_close(loaded.eval()(x), model.eval()(x), atol=0, rtol=0)
    optimizer = torch.optim.Adam(loaded.parameters())
    loaded.train()(x).sum().backward()
    optimizer.step()


@settings(max_examples=40, deadline=None)
@given(doomed())
def test_every_shrunken_plain_network_comes_back(tmp_path_factory, case: tuple[Plan, list[list[int]]]):
    plan, fallen = case
    model = plan.build().eval()
    for population, dead in zip(populations(model), fallen, strict=True):
        kill(model, population, dead, wholly=True)
    compact(model)
    path = tmp_path_factory.getbasetemp() / "model"
    save_model(model, path)
    loaded = load_model(path).eval()
    assert repr(loaded) == repr(model)
    assert_close(loaded(plan.batch()), model(plan.batch()), atol=0, rtol=0)
    into = load_model(path, into=plan.build()).eval()
    assert repr(into) == repr(model)
    assert_close(into(plan.batch()), model(plan.batch()), atol=0, rtol=0)


def test_a_model_of_its_own_class_takes_the_stored_sizes(tmp_path: Path):
    model = Own()
    kill(model, populations(model)[0], [1, 4], wholly=True)
    compact(model)
    save_model(model, tmp_path / "m")
    with pytest.raises(ValueError, match=r"no plain nn.Sequential: .* load_model\(path, into=model\)"):
        load_model(tmp_path / "m")
    fresh = Own()
    assert load_model(tmp_path / "m", into=fresh) is fresh
    x = torch.randn(2, 4)
    assert isinstance(fresh.norm, ShrunkLayerNorm)
    assert fresh.first.out_features == 4
    assert_close(fresh(x), model(x), atol=0, rtol=0)


def test_nothing_is_pickled_and_the_header_is_json(tmp_path: Path):
    save_model(MODELS["mlp"][0].build((5,), 3), tmp_path / "m", found="by hand")
    with safetensors.safe_open(tmp_path / "m", "pt") as file:
        header = json.loads(file.metadata()["coppice"])
        shapes = [file.get_tensor(name).shape for name in file.keys()]  # noqa: SIM118 - not a dict
    assert sorted(map(list, shapes)) == [[3], [3, 6], [6], [6, 8], [8], [8, 5]]
    assert "by hand" in json.dumps(header)
    assert storage.read(tmp_path / "m")["notes"] == {"found": "by hand"}


def test_masks_are_stored_with_the_model(tmp_path: Path):
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    Masks.attach(model).prune({"0.weight": torch.eye(5, 4, dtype=torch.bool)})
    keep_neurons(model, populations(model)[0], tensor([0, 4]))
    save_model(model, tmp_path / "m")
    for loaded in (load_model(tmp_path / "m"), load_model(tmp_path / "m", into=copy.deepcopy(model))):
        assert Masks(loaded)["0.weight"].equal(Masks(model)["0.weight"])


def test_the_stored_dtype_comes_back_and_into_keeps_its_own(tmp_path: Path):
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)).double()
    save_model(model, tmp_path / "m")
    loaded = load_model(tmp_path / "m")
    assert loaded[0].weight.dtype == torch.float64
    assert loaded[0].weight.equal(model[0].weight)
    assert loaded[0].weight.requires_grad
    into = load_model(tmp_path / "m", into=nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)))
    assert into[0].weight.dtype == torch.float32


def test_a_compiled_model_is_saved_as_the_inner_one(tmp_path: Path):
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    save_model(torch.compile(model, backend="eager"), tmp_path / "m")
    assert_close(load_model(tmp_path / "m")(torch.ones(1, 4)), model(torch.ones(1, 4)), atol=0, rtol=0)
    fresh = torch.compile(nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 2)), backend="eager")
    assert load_model(tmp_path / "m", into=fresh) is fresh
    assert fresh.get_submodule("0").out_features == 5


# --- describe and build ---------------------------------------------------------------------------------------

ARGUMENTS = {
    "Linear": (3, 2), "Conv1d": (4, 2, 3), "Conv2d": (4, 2, (3, 1)), "BatchNorm1d": (3,), "BatchNorm2d": (3,),
    "LayerNorm": ((2, 3),), "ShrunkLayerNorm": (3,), "MaxPool1d": (2,), "MaxPool2d": ((2, 1),),
    "AvgPool1d": (2,), "AvgPool2d": (2,), "AdaptiveAvgPool1d": (1,), "AdaptiveAvgPool2d": ((1, 2),),
    "AdaptiveMaxPool1d": (1,), "AdaptiveMaxPool2d": (1,),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(KNOWN))
def test_every_known_layer_survives_the_plan(kind: str):
    model = nn.Sequential(nn.Sequential(KNOWN[kind](*ARGUMENTS.get(kind, ()))))
    again = build(describe(model))
    assert repr(again) == repr(model)
    assert {n: t.shape for n, t in again.state_dict().items()} == {
        n: t.shape for n, t in model.state_dict().items()
    }


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, (3, 1), stride=2, padding=(1, 0), dilation=2, groups=2, bias=False, padding_mode="circular"),
        nn.Conv1d(4, 6, 3, padding="same"),
        nn.Linear(3, 2, bias=False),
        nn.BatchNorm1d(3, eps=0.1, momentum=None, affine=False),
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.LayerNorm(3, eps=0.1, bias=False),
        nn.LayerNorm(3, elementwise_affine=False),
        ShrunkLayerNorm(3, eps=0.1, bias=False),
        nn.GELU("tanh"),
        nn.LeakyReLU(0.3),
        nn.Hardtanh(-2, 2),
        nn.Softplus(2, 3),
        nn.Dropout(0.1),
        nn.MaxPool2d(3, stride=1, padding=1, dilation=1, ceil_mode=True),
        nn.AvgPool2d(2, count_include_pad=False, divisor_override=3),
        nn.Flatten(2, 3),
    ],
)  # fmt: skip
def test_arguments_survive_the_plan(layer: nn.Module):
    again = build(describe(nn.Sequential(layer)))[0]
    for name in (*layer.__constants__, "eps", "momentum", "affine", "p"):
        assert getattr(again, name, None) == getattr(layer, name, None)
    assert again.state_dict().keys() == layer.state_dict().keys()


def test_an_activation_used_twice_is_built_twice():
    act = nn.ReLU()
    model = nn.Sequential(nn.Linear(2, 3), act, nn.Linear(3, 3), act)
    assert [kind for _, kind, _ in describe(model)] == ["Linear", "ReLU", "Linear", "ReLU"]


def tied() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    return model


class OwnSequential(nn.Sequential):
    pass


@pytest.mark.parametrize(
    "model",
    [
        Own(),
        OwnSequential(nn.Linear(2, 2)),
        nn.Sequential(Own()),
        nn.Sequential(nn.Sequential(nn.PReLU())),
        nn.Sequential(*[nn.Linear(2, 2)] * 2),
        tied(),
        nn.Sequential(identity(nn.Linear(2, 2), "weight")),
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))),
    ],
)
def test_what_a_plan_would_not_bring_back_is_not_described(model: nn.Module):
    assert describe(model) is None


def test_an_unknown_layer_is_named(tmp_path: Path):
    storage.write(tmp_path / "m", {"plan": [["0", "Antenna", {}]], "weights": {}, "notes": {}})
    with pytest.raises(ValueError, match="has a layer 'Antenna', which this coppice does not know"):
        load_model(tmp_path / "m")


def test_a_checkpoint_is_no_model(tmp_path: Path):
    model = Own()
    storage.write(tmp_path / "c", {"identity": {}, "state": {"now": snapshot.take(model, None)}})
    with pytest.raises(ValueError, match="holds no model; it is perhaps a run's checkpoint"):
        load_model(tmp_path / "c", into=model)
    storage.write(tmp_path / "c", [1, 2])
    with pytest.raises(ValueError, match="holds no model"):
        load_model(tmp_path / "c")
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "absent")


def test_weights_of_another_class_are_refused_and_change_nothing(tmp_path: Path):
    save_model(nn.Sequential(nn.Linear(4, 5)), tmp_path / "m")
    model = Own()
    size = count_parameters(model)
    with pytest.raises(ValueError, match="this Own are not of one build"):
        load_model(tmp_path / "m", into=model)
    assert count_parameters(model) == size
