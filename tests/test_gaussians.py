"""Mahalanobis scores and SSD against explicit loops, and ours against pytorch-ood's on the same features."""

import numpy as np
import pytest
import torch
from pytorch_ood.detector import KNN, RMD, Mahalanobis

from utils.evaluation.gaussians import (
    fit_mahalanobis,
    fit_official_mahalanobis,
    fit_relative_mahalanobis,
    fit_ssd,
)
from utils.evaluation.scores import knn_score


def made(seed, count, dim=6, classes=3):
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centers = np.random.default_rng(99).normal(size=(classes, dim)) * 3
    mixing = np.random.default_rng(98).normal(size=(dim, dim))
    return centers[labels] + random.normal(size=(count, dim)) @ mixing, labels


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def tensors(rows, labels):
    return torch.from_numpy(rows).float(), torch.from_numpy(labels)


def loop_distances(rows, means, covariance):
    precision = np.linalg.inv(covariance)
    return [-min((row - mean) @ precision @ (row - mean) for mean in means) for row in rows]


@pytest.mark.parametrize("normalise", [False, True])
def test_mahalanobis_is_the_distance_under_the_within_class_covariance(normalise):
    (train, labels), (test, _) = made(0, 90), made(1, 12)
    found = fit_mahalanobis(*tensors(train, labels), 3, unit=normalise)(tensors(test, labels[:12])[0])
    train, test = (unit(train), unit(test)) if normalise else (train, test)
    means = [train[labels == label].mean(0) for label in range(3)]
    expected = loop_distances(test, means, within_class_covariance(train, labels))
    np.testing.assert_allclose(found, expected, rtol=2e-4)


def within_class_covariance(rows, labels):
    residuals = [row - rows[labels == label].mean(0) for row, label in zip(rows, labels, strict=True)]
    return sum(np.outer(row, row) for row in residuals) / len(rows)


def test_directions_of_little_variance_count_for_what_they_are():
    """Standard deviations from 1 to 1e-5: of a network's features the smallest variance is 1e-7 of the largest."""
    (train, labels), (test, _) = made(0, 200, dim=11), made(1, 12, dim=11)
    widths = np.logspace(0, -5, 11)
    train, test = train * widths, test * widths
    found = fit_mahalanobis(torch.from_numpy(train), torch.from_numpy(labels), 3)(torch.from_numpy(test))
    # the same in coordinates in which all directions are as wide
    train, test = train / widths, test / widths
    means = [train[labels == label].mean(0) for label in range(3)]
    np.testing.assert_allclose(found, loop_distances(test, means, within_class_covariance(train, labels)), rtol=1e-6)


@pytest.mark.parametrize("normalise", [False, True])
def test_rmd_is_the_class_distance_less_that_to_all(normalise):
    (train, labels), (test, _) = made(0, 90), made(1, 12)
    rows, queries = torch.from_numpy(train), torch.from_numpy(test)
    found = fit_relative_mahalanobis(rows, torch.from_numpy(labels), 3, unit=normalise)(queries)
    train, test = (unit(train), unit(test)) if normalise else (train, test)
    means = [train[labels == label].mean(0) for label in range(3)]
    of_classes = loop_distances(test, means, within_class_covariance(train, labels))
    of_all = loop_distances(test, [train.mean(0)], np.cov(train.T, bias=True))
    np.testing.assert_allclose(found, np.subtract(of_classes, of_all), rtol=1e-8)
    if not normalise:
        detector = RMD(encoder=None).fit_features(rows.float(), torch.from_numpy(labels))
        theirs = detector.predict_features(queries.float())
        np.testing.assert_allclose(found, -90 * theirs, rtol=1e-3)  # theirs has sums in place of covariances


def test_official_mahalanobis_has_the_total_covariance():
    (train, labels), (test, _) = made(0, 90), made(1, 12)
    found = fit_official_mahalanobis(*tensors(train, labels), 3)(tensors(test, labels[:12])[0])
    train, test = unit(train), unit(test)
    means = [train[labels == label].mean(0) for label in range(3)]
    expected = loop_distances(test, means, np.cov(train.T, bias=True))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert not np.allclose(found, fit_mahalanobis(*tensors(train, labels), 3, unit=True)(torch.tensor(test)))


def test_ssd_is_one_gaussian_of_z_scored_features():
    (train, labels), (test, _) = made(0, 90), made(1, 12)
    found = fit_ssd(tensors(train, labels)[0])(tensors(test, labels[:12])[0])
    train, test = unit(train), unit(test)
    mean, std = train.mean(0), train.std(0)
    train, test = (train - mean) / std, (test - mean) / std
    np.testing.assert_allclose(found, loop_distances(test, [train.mean(0)], np.cov(train.T, bias=True)), rtol=1e-4)


def test_fewer_images_than_dimensions_and_dead_features():
    train, labels = made(0, 9, dim=20)
    test, _ = made(1, 5, dim=20)
    train[:, 3] = 0
    for fitted in (
        fit_mahalanobis(*tensors(train, labels), 3),
        fit_official_mahalanobis(*tensors(train, labels), 3),
        fit_ssd(tensors(train, labels)[0]),
    ):
        found = fitted(torch.from_numpy(test))
        assert found.isfinite().all() and (found < 0).all()


def test_a_collapsed_network_still_scores():
    train, test = torch.ones(12, 4), torch.ones(2, 4)
    labels = torch.arange(12) % 2
    assert fit_mahalanobis(train, labels, 2)(test).tolist() == [0, 0]


def test_a_class_without_images_is_refused():
    train, labels = tensors(*made(0, 9))
    with pytest.raises(ValueError, match="1 of 4 classes"):
        fit_mahalanobis(train, labels, 4)


def test_equal_to_pytorch_ood_on_the_same_features():
    (train, labels), (test, _) = made(0, 90), made(1, 30)
    train, labels = tensors(train, labels)
    test = torch.from_numpy(test).float()
    theirs = Mahalanobis(encoder=None).fit_features(train, labels).predict_features(test)
    # Theirs has the sum in place of the mean of the squares, and the factor of a log-density.
    np.testing.assert_allclose(fit_mahalanobis(train, labels, 3)(test), -2 * 90 * theirs, rtol=1e-3)
    theirs = KNN(encoder=None, k=7).fit_features(train, labels).predict_features(test)
    bank, queries = (torch.nn.functional.normalize(rows, dim=1) for rows in (train, test))
    np.testing.assert_allclose(knn_score(bank, queries, 7), -(theirs**2), rtol=1e-4)
