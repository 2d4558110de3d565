"""One training step of CIDER against the paper's loss: with and without dispersion, EMA and learnable prototypes."""

from collections import namedtuple

import pytest
import torch
from torch import nn

import train_cider
from train_cider import cider_step, parse_arguments
from utils.errors import UserError
from utils.prototypes import EMAPrototypes, LearnablePrototypes

Batch = namedtuple("Batch", "images labels size")
CLASSES, DIM, IMAGES, W = 4, 6, 8, 2.0


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(2 * IMAGES, 3, generator=draw).double()
    return Batch(images, torch.randint(CLASSES, (IMAGES,), generator=draw), IMAGES)


class Embed(nn.Module):
    """A linear map onto the sphere in place of the network."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, DIM, generator=torch.Generator().manual_seed(1)).double())

    def forward(self, x):
        return nn.functional.normalize(x @ self.weight, dim=1)


def make_prototypes(kind):
    rows = nn.functional.normalize(torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(2)).double())
    made = EMAPrototypes(CLASSES, DIM, 0.9) if kind == "ema" else LearnablePrototypes(CLASSES, DIM)
    made.double()
    with torch.no_grad():
        made.prototypes.copy_(rows)
    return made


def terms(kind, embed, batch, temperature):
    """L_dis and L_comp by explicit loops, in the order of the paper: the prototypes are updated first.

    Scaled as in the official code: by the temperature over 0.1 and over 0.07.
    """
    labels = [*batch.labels.tolist()] * 2
    z, made = embed(batch.images), make_prototypes(kind)
    mu = [nn.functional.normalize(row, dim=0) for row in made.prototypes]
    if kind == "ema":
        for row, label in zip(z, labels, strict=True):
            mu[label] = nn.functional.normalize(0.9 * mu[label] + 0.1 * row, dim=0)
    dis = comp = 0
    for i in range(CLASSES):
        others = [(mu[i] @ mu[j] / temperature).exp() for j in range(CLASSES) if j != i]
        dis = dis + (sum(others) / (CLASSES - 1)).log() / CLASSES
    targets = [each.detach() if kind == "ema" else each for each in mu]
    for row, label in zip(z, labels, strict=True):
        exponents = [(row @ target / temperature).exp() for target in targets]
        comp = comp - (exponents[label] / sum(exponents)).log() / len(labels)
    return temperature / 0.1 * dis, temperature / 0.07 * comp, made


@pytest.mark.parametrize("kind", ["ema", "learnable"])
@pytest.mark.parametrize("with_dispersion", [True, False])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_loss_and_gradient_are_those_of_the_terms_that_count(batch, kind, with_dispersion, temperature):
    embed, prototypes = Embed(), make_prototypes(kind)
    step = cider_step(prototypes, w=W, temperature=temperature, with_dispersion=with_dispersion)
    found = step(embed, batch)
    found["loss"].backward()
    same = Embed()
    dis, comp, loop_prototypes = terms(kind, same, batch, temperature)
    expected = W * comp + (dis if with_dispersion else 0)
    expected.backward()
    torch.testing.assert_close(found["loss"], expected)
    torch.testing.assert_close(found["loss/dis"], dis)  # is logged, whether or not it counts
    torch.testing.assert_close(embed.weight.grad, same.weight.grad)
    if kind == "learnable":
        torch.testing.assert_close(prototypes.prototypes.grad, loop_prototypes.prototypes.grad)


def test_the_switch_names_the_run_and_belongs_to_cider(capsys):
    args = parse_arguments(command_line=["--no-dispersion", "--device", "cpu"])
    assert args.no_dispersion and "no-dispersion" in args.name
    assert "no-dispersion" not in parse_arguments(command_line=["--device", "cpu"]).name
    with pytest.raises(SystemExit) as ended:
        parse_arguments(command_line=["--no-dispersion", "--loss", "supcon", "--device", "cpu"])
    assert ended.value.code == 2 and "not about supcon" in capsys.readouterr().err


def test_more_classes_than_a_simplex_has_room_for_are_refused_with_what_fits():
    args = parse_arguments(command_line=["--feat_dim", "5"])  # the digits begin on a simplex
    assert len(train_cider.make_prototypes(args, 6).prototypes) == 6
    with pytest.raises(UserError, match="5 dimensions there is none for 7 classes\n.*class-means, or --feat_dim 6"):
        train_cider.make_prototypes(args, 7)
