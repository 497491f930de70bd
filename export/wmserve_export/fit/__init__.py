"""``wmserve fit``: new heads for a world in a repository, learned from trajectories, with the world itself left alone.

    data        trajectories: frames, actions, named columns
    encoding    the world's encoder on them, split by trajectory: to fit, to choose, held out
    heads       what is fitted, as torch modules that can also add themselves to an ONNX graph
    readouts    named columns from latents
    metrics     how far latents are from a goal, in model steps
    measures    what a goal metric is worth, on trajectories that it has not seen
    surgery     puts heads on the exported engines of a world
    proof       gates: what was not to change has not, to the bit, and what is new is what torch says
    fitting     the way of a world, from one version to the next

Axes: `M` trajectories, `L` frames of one, `D` latent dimension, `R` readouts, `K` columns; others as in the contract.
"""
