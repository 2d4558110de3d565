"""The GPU kernels of the prototype update, run by Triton's interpreter on the CPU, against the plain version."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

CHECK = """
import torch
from torch.nn import functional as F
from utils.prototypes.scan import SteppedScan
from utils.prototypes.triton_scan import TritonScan

torch.manual_seed(0)
for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
    for labels in (torch.randint(0, 7, (40,)), torch.tensor([3]), torch.full((9,), 6), torch.tensor([5, 1, 5, 0])):
        features = F.normalize(torch.randn(len(labels), 20, dtype=dtype), dim=1).requires_grad_()
        prototypes = F.normalize(torch.randn(7, 20, dtype=dtype), dim=1)
        weight = torch.randn(20, 7, dtype=dtype).T  # a gradient that is not contiguous
        for momentum in (0.0, 0.95):
            results = []
            for scan in (SteppedScan, TritonScan):
                updated = scan.apply(features, prototypes, labels, momentum)
                results.append((updated, *torch.autograd.grad(updated, features, weight)))
            for plain, kernel in zip(*results, strict=True):
                torch.testing.assert_close(kernel, plain, rtol=0, atol=tolerance)
try:
    TritonScan.apply(features, prototypes, torch.tensor([0, 7, 1, 2]), 0.9)
except RuntimeError as error:
    assert "out of bounds" in str(error), error
else:
    raise SystemExit("a label out of range went through")
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_kernels_equal_the_plain_version() -> None:
    root = Path(__file__).parents[1]
    env = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", CHECK], env=env, cwd=root, capture_output=True, text=True)
    if "InterpreterError: TypeError('only 0-dimensional arrays" in done.stderr:
        pytest.skip("the interpreter of Triton 3.6 fails in its own code beside NumPy 2.5")
    assert done.returncode == 0, done.stderr
