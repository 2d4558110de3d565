"""Names and arguments that other people's code calls us by: a change of any of them breaks that code."""

import inspect
from collections.abc import Callable

import pytest

from models.cider import CIDERNet
from models.mcd import MCDNet
from models.vos import VOSNet
from utils.evaluation.metrics import ood_metrics
from utils.evaluation.scores import discrepancy_score, knn_score
from utils.losses import CompLoss, DisLoss, SupConLoss, discrepancy_loss, log_weighted_sum_exp, uncertainty_loss
from utils.outliers import least_likely_gaussian_samples
from utils.prototypes import EMAPrototypes
from utils.training.schedule import learning_rate

SIGNATURES = {
    CIDERNet: "arch='resnet18', head='mlp', feat_dim=128, num_classes=10, stem='cifar', pretrained=False, width=64, "
    "train_layers=None",
    VOSNet: "arch='wrn-40-2', num_classes=10",
    MCDNet: "arch='densenet-bc-100-12', num_classes=10",
    CompLoss: "temperature=0.1, base_temperature=0.07",
    CompLoss.forward: "self, features, prototypes, labels",
    DisLoss: "temperature=0.1, base_temperature=0.1",
    DisLoss.forward: "self, prototypes",
    SupConLoss: "temperature=0.1, base_temperature=0.07",
    SupConLoss.forward: "self, features, labels",
    EMAPrototypes: "num_classes, feat_dim, momentum",
    EMAPrototypes.update: "self, features, labels",
    knn_score: "bank, queries, k",
    ood_metrics: "id_scores, ood_scores",
    learning_rate: "epoch, batch, batches_per_epoch, *base_lr, *epochs, *cosine, *decay_epochs, *decay_rate, *warmup, "
    "*warmup_epochs=10",
    log_weighted_sum_exp: "logits, weight",
    uncertainty_loss: "id_scores, outlier_scores, logistic",
    discrepancy_loss: "logits1, logits2, margin=1.2",
    discrepancy_score: "logits1, logits2",
    least_likely_gaussian_samples: "means, covariance, sample_from, select, generator=None",
}


def shown(parameter: inspect.Parameter) -> str:
    star = "*" if parameter.kind is parameter.KEYWORD_ONLY else ""
    return star + str(parameter.replace(annotation=parameter.empty))


@pytest.mark.parametrize("called", SIGNATURES, ids=lambda called: called.__qualname__)
def test_other_code_can_call_it_as_before(called: Callable):
    """New arguments may come behind those that there were."""
    found = ", ".join(map(shown, inspect.signature(called).parameters.values()))
    assert found.startswith(SIGNATURES[called])
