"""Batch size and learning rate for classes of one's own follow from the number of images."""

import pytest

from utils.cli.settings import FOLDER_RATES, folder_batches


@pytest.mark.parametrize(
    ("images", "batch_size"),
    [(2, 16), (96, 16), (511, 16), (512, 32), (576, 32), (869, 32), (1024, 64), (2047, 64), (2048, 128), (10**6, 128)],
)
def test_an_epoch_has_sixteen_steps_or_batches_are_as_small_as_they_get(images, batch_size):
    assert folder_batches("cider", images) == {"batch_size": batch_size, "learning_rate": 0.125 * batch_size / 128}
    assert batch_size in (16, 128) or 16 <= images / batch_size < 32


def test_the_rate_follows_a_batch_size_that_is_given():
    assert folder_batches("vos", 100, 64) == {"batch_size": 64, "learning_rate": FOLDER_RATES["vos"] / 2}
