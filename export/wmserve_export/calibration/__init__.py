"""Measures how far a world's predictions err, on trajectories that its training knew nothing of.

    trajectories -> engines -> Measured -+- the first -> score engines (how unlike, how wrong)
                                         `- the rest  -> radii, quantiles -> Calibration -> repository

Axes: `M` trajectories, `T` context frames, `S` candidates, `H` model steps, `N = H x action_block` environment steps,
`A` action dimension, `D` latent dimension, `F` feature dimension, `R` readouts; image height and width are `h w`.
"""
