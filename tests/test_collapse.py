"""A network that does not hold its classes apart is found out, and the advice names nothing that was set already."""

import pytest
import torch

from tests.training_runs import run
from utils.evaluation.collapse import classes_that_share, collapse, collapse_warning, ways_out


@pytest.mark.parametrize(
    ("num_classes", "accuracy", "fault"),
    [
        (6, 0.354, "ID accuracy is 35.4 %, where guessing gives 16.7 %"),  # README's walk-through as it once ended
        (6, 0.993, None),
        (2, 0.6, "ID accuracy is 60.0 %, where guessing gives 50.0 %"),
        (2, 0.63, None),
        (100, 0.3, None),  # a hard set, not a collapse
        (100, 0.05, "ID accuracy is 5.0 %, where guessing gives 1.0 %"),
        (10, 0.02, "ID accuracy is 2.0 %, where guessing gives 10.0 %"),
        (10, None, None),
        (0, None, None),  # a file of SupContrast, which does not say how many there are
    ],
)
def test_an_id_accuracy_near_chance_is_a_collapse(num_classes, accuracy, fault):
    assert collapse(num_classes, accuracy) == fault


def test_classes_in_one_place_are_a_collapse_when_they_are_half_of_all():
    spread = torch.eye(6, 8)
    assert classes_that_share(spread) == 0 and collapse(6, 0.9, spread) is None
    pair = spread.clone()
    pair[1] = 3 * (spread[0] + 0.14 * spread[1])  # cosine 0.9903 to class 0, whatever its length
    assert classes_that_share(pair) == 2 and collapse(6, 0.9, pair) is None
    three = pair.clone()
    three[2] = spread[0]
    assert collapse(6, 0.9, three) == "3 of 6 classes share their prototype with another class"
    assert collapse(6, 0.2, three).count(";") == 1
    apart = spread.clone()
    apart[1] = spread[0] + 0.15 * spread[1]  # cosine 0.989
    assert classes_that_share(apart) == 0


def test_two_classes_collapse_together():
    assert collapse(2, 0.95, torch.ones(2, 4)) == "2 of 2 classes share their prototype with another class"
    assert collapse(2, 0.95, torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) is None


def test_the_advice_names_nothing_that_was_set_already():
    trained_with = {
        "loss": "cider",
        "batch_size": 16,
        "learning_rate": 0.016,
        "prototype_init": "simplex",
        "epochs": 40,
    }
    said = collapse_warning("ID accuracy is 20.0 %, where guessing gives 16.7 %", trained_with)
    assert "COLLAPSED: ID accuracy is 20.0 %" in said and "simplex" not in said
    assert "--batch-size 8 --learning_rate 0.008" in said and "more --epochs than 40" in said
    assert "--prototype-init simplex" in ways_out({**trained_with, "prototype_init": "class-means"})
    assert "--prototype-init simplex" not in ways_out({**trained_with, "loss": "ce", "prototype_init": "class-means"})
    assert ways_out({}) == ["another --seed", "more --epochs"]  # a file of the official code says nothing


def test_a_training_that_ends_with_all_classes_in_one_place_says_so(tmp_path):
    done = run(tmp_path, "--epochs", "1", "--warmup", "none", "--learning_rate", "1e-6")
    assert done.status == 0
    assert "warning: THIS NETWORK HAS COLLAPSED: " in done.err
    assert "6 of 6 classes share their prototype with another class. Do not rely" in done.err
    assert "--prototype-init simplex" in done.err  # it began with class means
