import pytest
import torch
from torch import nn

from coppice.parts.synapses import attends, synapses


class Everything(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.position = nn.Parameter(torch.zeros(3, 4))
        self.conv = nn.Conv1d(4, 4, 3)
        self.back = nn.ConvTranspose1d(4, 4, 3)
        self.norm = nn.LayerNorm((3, 4))
        self.lstm = nn.LSTM(4, 3, 2, bidirectional=True, proj_size=2)
        self.gru = nn.GRU(4, 3, bias=False)
        self.cell = nn.RNNCell(3, 3)
        self.attention = nn.MultiheadAttention(4, 2, kdim=3, vdim=3)
        self.head = nn.Linear(4, 5)


LSTM = [
    f"lstm.weight_{k}_l{layer}{way}"
    for layer in (0, 1)
    for way in ("", "_reverse")
    for k in ("ih", "hh", "hr")
]


def test_every_weight_between_neurons_and_nothing_else():
    assert synapses(Everything()) == [
        "conv.weight", "back.weight", *LSTM, "gru.weight_ih_l0", "gru.weight_hh_l0", "cell.weight_ih", "cell.weight_hh",
        "attention.q_proj_weight", "attention.k_proj_weight", "attention.v_proj_weight", "attention.out_proj.weight",
        "head.weight",
    ]  # fmt: skip


def test_packed_attention_and_a_subclass_of_linear():
    class Own(nn.Linear):
        pass

    model = nn.ModuleList([nn.MultiheadAttention(4, 2), Own(2, 2)])
    assert synapses(model) == ["0.in_proj_weight", "0.out_proj.weight", "1.weight"]


def test_patterns_add_and_remove():
    assert "position" in synapses(Everything(), include=["^position$"])
    assert "embed.weight" in synapses(Everything(), include=["embed"])
    left = synapses(Everything(), exclude=["lstm", r"head\.weight"])
    assert "head.weight" not in left
    assert not any("lstm" in name for name in left)


def test_tied_weights_stand_once_and_an_embedding_protects_its_twin():
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    model["b"].weight = model["a"].weight
    assert synapses(model) == ["a.weight"]
    model = nn.ModuleDict({"words": nn.Embedding(5, 3), "head": nn.Linear(3, 5), "mid": nn.Linear(3, 3)})
    model["head"].weight = model["words"].weight
    assert synapses(model) == ["mid.weight"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"include": ["nowhere"]}, "include: 'nowhere' finds none of the parameters: position, embed.weight"),
        ({"exclude": ["nowhere"]}, "exclude: 'nowhere' finds none"),
        ({"exclude": ["("]}, r"exclude: '\(' is no regular expression"),
        ({"exclude": ["."]}, "Everything has no synapses to prune outside exclude"),
    ],
)
def test_patterns_that_cannot_be_meant(options, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        synapses(Everything(), **options)


def test_a_model_without_synapses_is_refused():
    with pytest.raises(
        ValueError, match=r"LayerNorm has no synapses to prune: .* name those of your own with include"
    ):
        synapses(nn.LayerNorm(3))


def test_attention_is_known_by_its_name():
    class SelfAttention(nn.Module):
        pass

    assert attends(nn.Sequential(SelfAttention()))
    assert attends(nn.TransformerEncoderLayer(4, 2))
    assert not attends(nn.LSTM(3, 3))
