import pytest
import torch
from torch import nn, tensor

from coppice.parts.evidence import DECAY, Activity, Movement, Taylor
from coppice.parts.synapses import synapses


def test_mean_input_of_a_linear_layer_by_hand():
    model = nn.Linear(2, 3)
    activity = Activity(model, ["weight"])
    model(tensor([[1.0, -2.0], [3.0, 0.0]]))
    assert activity.seen["weight"].tolist() == [2, 1]
    model(tensor([[0.0, 0.0]]))
    assert activity.seen["weight"].tolist() == pytest.approx([2 * DECAY, DECAY])
    model.eval()
    model(tensor([[100.0, 100.0]]))  # judging is not training
    assert activity.seen["weight"].tolist() == pytest.approx([2 * DECAY, DECAY])
    model.train()
    activity.remove()
    model(tensor([[100.0, 100.0]]))
    assert activity.seen["weight"].tolist() == pytest.approx([2 * DECAY, DECAY])


def test_channels_are_the_sources_of_a_convolution():
    model = nn.Conv1d(2, 3, 2)
    activity = Activity(model, ["weight"])
    model(tensor([[[1.0, 1.0, 1.0], [-4.0, 0.0, 4.0]]]))
    assert activity.seen["weight"].tolist() == pytest.approx([1, 8 / 3])
    grouped = nn.Conv2d(4, 2, 1, groups=2)
    activity = Activity(grouped, ["weight"])
    grouped(torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1))
    assert activity.seen["weight"].tolist() == [2, 3]  # channels 1 and 3, 2 and 4 share a place


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("both", [False, True])
def test_a_recurrent_layer_listens_to_its_input_and_to_itself(kind: type[nn.RNNBase], both: bool) -> None:
    torch.manual_seed(0)
    model = kind(3, 4, 2, batch_first=True, bidirectional=both)
    activity = Activity(model, synapses(model))
    x = torch.randn(5, 6, 3)
    _, state = model(x)
    hidden = (state[0] if kind is nn.LSTM else state).detach().abs().mean(1)  # [layer * direction, neuron]
    ways = 2 if both else 1
    assert torch.allclose(activity.seen["weight_ih_l0"], x.abs().mean((0, 1)))
    assert torch.allclose(activity.seen["weight_hh_l1"], hidden[ways])
    assert torch.allclose(activity.seen["weight_ih_l1"], hidden[:ways].flatten())
    if both:
        assert torch.allclose(activity.seen["weight_hh_l0_reverse"], hidden[1])
    assert activity.seen.keys() == set(synapses(model))


def test_cells_packed_sequences_attention_and_projections_are_seen_whole():
    model = nn.ModuleDict({
        "cell": nn.LSTMCell(3, 4),
        "gru": nn.GRUCell(3, 4),
        "lstm": nn.LSTM(3, 4, proj_size=2, batch_first=True),
        "attention": nn.MultiheadAttention(4, 2, batch_first=True),
        "split": nn.MultiheadAttention(4, 2, kdim=4, vdim=4, batch_first=True),
    })  # fmt: skip
    activity = Activity(model, synapses(model))
    x = torch.randn(2, 3)
    model["cell"](x)
    model["gru"](x)
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(2, 5, 3), torch.tensor([5, 2]), batch_first=True)
    model["lstm"](packed)
    y = torch.randn(2, 5, 4)
    model["attention"](y, y, y)
    model["split"](y, y, y)
    assert activity.seen.keys() == set(synapses(model))
    for name, seen in activity.seen.items():
        assert seen.shape == model.get_parameter(name).shape[1:2]
    assert torch.allclose(activity.seen["attention.out_proj.weight"], y.abs().mean((0, 1)))


def test_taylor_and_movement_by_hand():
    weight = nn.Parameter(tensor([2.0, -1.0]))
    weight.grad = tensor([3.0, 3.0])
    taylor, movement = Taylor(nn.Linear(1, 1), []), Movement(nn.Linear(1, 1), [])
    unheard = {"w": weight, "frozen": nn.Parameter(tensor([1.0]))}
    for one in (taylor, movement):
        one.before_step(unheard)
        one.before_step(unheard)
    share = 1 - DECAY
    assert taylor.seen["w"].tolist() == pytest.approx(
        [6 * (share + share * DECAY), 3 * (share + share * DECAY)]
    )
    assert movement.seen["w"].tolist() == [-12, 6]
    assert "frozen" not in taylor.seen
