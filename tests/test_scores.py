"""Scores and votes on features against explicit loops."""

import numpy as np

from utils.evaluation.scores import majority_vote, nearest_prototype, prototype_score


def random_rows(seed, count, dim):
    return np.random.default_rng(seed).normal(size=(count, dim))


def test_majority_vote_with_ties_to_the_lower_class():
    labels = np.array([0, 0, 1, 1, 2])
    indices = np.array([[0, 1, 2], [2, 3, 4], [4, 2, 4], [3, 1, 4]])
    assert majority_vote(labels, indices).tolist() == [0, 1, 2, 0]


def test_the_nearest_prototype_is_that_of_the_largest_cosine_which_is_the_score():
    embedding, prototypes = random_rows(0, 25, 6), random_rows(1, 4, 6) * np.array([[1.0], [10], [0.1], [3]])
    cosines = [[z @ mu / np.linalg.norm(z) / np.linalg.norm(mu) for mu in prototypes] for z in embedding]
    assert nearest_prototype(embedding, prototypes).tolist() == [int(np.argmax(row)) for row in cosines]
    np.testing.assert_allclose(prototype_score(embedding, prototypes), [max(row) for row in cosines], rtol=1e-5)
