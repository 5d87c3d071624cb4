"""The closed form of Gaussian processes, against the library's own."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("botorch")

from agents.bo.process import Processes  # noqa: E402

SCALES = torch.tensor([[[1.0, 0.5, 0.0], [0.0, 2.0, 0.0]], [[0.0, 0.0, 0.3], [0.0, 0.0, 0.3]]], dtype=torch.double)
SDS = torch.tensor([[0.3, 1.5], [0.7, 0.2]], dtype=torch.double)
SHIFTS = torch.tensor([0.1, -0.2], dtype=torch.double)


@pytest.fixture(scope="module")
def readings() -> tuple:
    rng = np.random.default_rng(0)
    x, values, variances = rng.normal(size=(7, 3)), rng.normal(size=(2, 7)), rng.uniform(0.01, 0.2, (2, 7))
    return tuple(map(torch.as_tensor, (x, values, variances)))


@pytest.fixture(scope="module")
def processes(readings: tuple) -> Processes:
    x, values, variances = readings
    return Processes(x, SCALES, SDS, torch.tensor([2, 2]), SHIFTS, values, variances)


def test_posteriors_are_those_of_the_library(readings: tuple, processes: Processes) -> None:
    import gpytorch
    from botorch.models import SingleTaskGP
    from gpytorch.kernels import RBFKernel, ScaleKernel

    class Mean(gpytorch.means.Mean):
        def __init__(self, shift: float) -> None:
            super().__init__()
            self.shift = shift

        def forward(self, x):
            return x[..., 2] + self.shift

    x, values, variances = readings
    at = torch.as_tensor(np.random.default_rng(1).normal(size=(4, 5, 3)))
    joint = processes.posterior(at)
    for outcome, both in enumerate((([0, 1], [2]), ([1], [2]))):
        parts = [ScaleKernel(RBFKernel(ard_num_dims=len(dims), active_dims=dims)) for dims in both]
        for part, (kernel, dims) in enumerate(zip(parts, both, strict=True)):
            kernel.base_kernel.lengthscale = 1.0 / SCALES[part, outcome, dims]
            kernel.outputscale = SDS[part, outcome] ** 2
        reference = SingleTaskGP(
            x,
            values[outcome][:, None],
            variances[outcome][:, None],
            mean_module=Mean(float(SHIFTS[outcome])),
            covar_module=parts[0] + parts[1],
            outcome_transform=None,
        )
        with torch.no_grad():
            want = reference.eval().posterior(at)
        torch.testing.assert_close(joint.mean[..., outcome], want.mean[..., 0], rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(joint.variance[..., outcome], want.variance[..., 0], rtol=1e-6, atol=1e-8)
    mean, variance = processes.marginals(at[0])
    torch.testing.assert_close(mean, joint.mean[0])
    torch.testing.assert_close(variance, joint.variance[0])


def test_samples_have_the_joint_spread_of_the_posterior(processes: Processes) -> None:
    at = torch.as_tensor(np.random.default_rng(2).normal(size=(3, 3)))
    joint = processes.posterior(at)
    draws = torch.as_tensor(np.random.default_rng(3).normal(size=(40000, 3, 2)))
    samples = joint.rsample_from_base_samples(torch.Size([40000]), draws)
    for outcome in range(2):
        got = torch.cov(samples[..., outcome].T)
        want = processes._cov(at, at)[outcome]
        want = want - _explained(processes, at)[outcome]
        torch.testing.assert_close(got, want, rtol=0.05, atol=0.02 * float((SDS[:, outcome] ** 2).sum()))
    torch.testing.assert_close(samples.mean(dim=0), joint.mean, rtol=0.05, atol=0.02)


def _explained(processes: Processes, at):
    between = processes._cov(processes.x, at)
    return between.mT @ torch.cholesky_solve(between, processes._root)


def test_a_part_of_the_posterior_is_refused(processes: Processes) -> None:
    with pytest.raises(NotImplementedError, match="whole posterior"):
        processes.posterior(processes.x, output_indices=[0])
