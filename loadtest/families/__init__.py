"""Model families beside their reference: for tests at a small size, and at the published one (`full_size`)."""

import loadtest.evaluation  # noqa: F401  # lets stable-worldmodel and transformers import torchvision
