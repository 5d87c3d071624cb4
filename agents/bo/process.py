"""Gaussian processes with given scales, all outcomes at once: a model for BoTorch's acquisition functions.

Nothing is fitted, so that a posterior is a few products of matrices. The library's own models do the same sums with an
object for each, which took nine tenths of a tuning run.
"""

from __future__ import annotations

from typing import Any

import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.models.model import Model
from botorch.posteriors.posterior import Posterior
from linear_operator.utils.cholesky import psd_safe_cholesky
from torch import Tensor


class Processes(Model):
    """Independent processes of M outcomes over the same N readings.

    Covariances are sums of P parts ``sd^2 exp(-|scale (x - x')|^2 / 2)``; a column that does not matter has scale 0.

    Args:
        x: feature rows of the readings, (N, F).
        scales: inverse length of each column for each part and outcome, (P, M, F).
        sds: standard deviation of each part of an outcome's deviation from its mean, (P, M).
        mean_columns: column of a feature row that carries the expected value of each outcome, (M,).
        shifts: added to that, (M,).
        values, variances: readings and the variances of their noise, (M, N).

    References:
        Rasmussen and Williams, Gaussian Processes for Machine Learning, algorithm 2.1.
    """

    def __init__(
        self,
        x: Tensor,
        scales: Tensor,
        sds: Tensor,
        mean_columns: Tensor,
        shifts: Tensor,
        values: Tensor,
        variances: Tensor,
    ) -> None:
        super().__init__()
        self._used = scales.abs().sum(dim=(0, 1)).nonzero()[:, 0]
        self._weights, self._vars = scales[..., self._used] ** 2, sds**2
        self._mean_columns, self._shifts = mean_columns, shifts
        self.x = x
        self._root = psd_safe_cholesky(self._cov(x, x) + torch.diag_embed(variances))
        lack = values - self._expected(x).T
        self._gain = torch.cholesky_solve(lack[..., None], self._root)

    @property
    def num_outputs(self) -> int:
        """M."""
        return self._vars.shape[-1]

    @property
    def batch_shape(self) -> torch.Size:
        """None."""
        return torch.Size()

    def _expected(self, x: Tensor) -> Tensor:
        return x[..., self._mean_columns] + self._shifts

    def _cov(self, left: Tensor, right: Tensor) -> Tensor:
        """Prior covariances of rows (..., L, F) and (..., R, F), (..., M, L, R)."""
        apart = (left[..., :, None, self._used] - right[..., None, :, self._used]) ** 2
        parts = [
            variances * torch.exp(-0.5 * (apart @ weights.T))
            for variances, weights in zip(self._vars, self._weights, strict=True)
        ]
        cov: Tensor = sum(parts[1:], parts[0]).movedim(-1, -3)
        return cov

    def marginals(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each outcome at feature rows (L, F), (L, M) each."""
        cov = self._cov(self.x, x)
        mean = self._expected(x) + (cov * self._gain).sum(dim=-2).T
        seen = torch.linalg.solve_triangular(self._root, cov, upper=False)
        return mean, (self._vars.sum(dim=0)[:, None] - (seen**2).sum(dim=-2)).clamp_min(0.0).T

    def posterior(
        self,
        X: Tensor,
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: PosteriorTransform | None = None,
    ) -> Posterior:
        """Joint posterior of feature rows (..., Q, F), without noise; see :class:`botorch.models.model.Model`.

        Raises:
            NotImplementedError: some outcomes only, noise or a transform asked for.
        """
        if output_indices is not None or observation_noise is not False or posterior_transform is not None:
            raise NotImplementedError("the whole posterior without noise is all there is")
        between = self._cov(self.x, X)
        mean = self._expected(X) + (between * self._gain).sum(dim=-2).movedim(-1, -2)
        seen = torch.linalg.solve_triangular(self._root, between, upper=False)
        return Joint(mean, self._cov(X, X) - seen.mT @ seen)


class Joint(Posterior):
    """Normal posterior of M independent outcomes at Q points.

    Args:
        mean: (..., Q, M).
        cov: (..., M, Q, Q).
    """

    def __init__(self, mean: Tensor, cov: Tensor) -> None:
        self._mean, self._cov = mean, cov

    @property
    def mean(self) -> Tensor:
        """(..., Q, M)."""
        return self._mean

    @property
    def variance(self) -> Tensor:
        """(..., Q, M)."""
        return self._cov.diagonal(dim1=-2, dim2=-1).clamp_min(0.0).movedim(-1, -2)

    @property
    def device(self) -> torch.device:
        """Of the numbers."""
        return self._mean.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the numbers."""
        return self._mean.dtype

    @property
    def batch_shape(self) -> torch.Size:
        """What precedes Q and M."""
        return self._mean.shape[:-2]

    @property
    def base_sample_shape(self) -> torch.Size:
        """Of the normal draws that a sample is made from, (..., Q, M)."""
        return self._mean.shape

    @property
    def batch_range(self) -> tuple[int, int]:
        """Dimensions of :attr:`base_sample_shape` that are batches."""
        return 0, -2

    def _extended_shape(self, sample_shape: torch.Size = torch.Size()) -> torch.Size:  # noqa: B008
        return sample_shape + self._mean.shape

    def rsample_from_base_samples(self, sample_shape: torch.Size, base_samples: Tensor) -> Tensor:
        """Samples from standard normal draws (S, ..., Q, M), of the same shape."""
        root = psd_safe_cholesky(self._cov)
        samples: Tensor = self._mean + (root @ base_samples.movedim(0, -1).movedim(-2, -3)).movedim(-1, 0).mT
        return samples

    def rsample(self, sample_shape: torch.Size | None = None, **_: Any) -> Tensor:
        """Fresh samples, (S, ..., Q, M)."""
        shape = torch.Size([1]) if sample_shape is None else sample_shape
        draws = torch.randn(shape + self._mean.shape, dtype=self.dtype, device=self.device)
        return self.rsample_from_base_samples(shape, draws)
