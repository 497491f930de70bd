"""``wmserve trajectories``: what others have recorded becomes what a world is calibrated and fitted on.

    data set -> formats/ -> Source -> Recording -+- timeline -> writing   -> <order>_<episode>.npz
                                                 |- alignment (which action led from which frame to which)
                                                 `- statistics -> report  -> trajectories.json, world.json

    bounds       what a data set may cost; everything in one was written by others
    source       what every format answers: episodes, cameras, columns
    formats/     one module each: lerobot, hdf5 (stable-worldmodel, robomimic), lance, frames (images and CSV), mcap
    selecting    which camera, which columns, which episodes
    timeline     rows of an episode -> environment steps -> model steps
    alignment    which shift of the actions predicts best, by the world's own engines
    statistics   mean, standard deviation and range of each axis
    writing      files that are whole or not there
    job          a data set, a world and what a user chose; what one file holds
    shifts       the shift that is used: as said, as found before, or as alignment finds
    convert      one episode after the other
    counting     what comes of them
    report       what was written, what was left out and why; totals puts it together
    gathering    statistics alone, before there is a world

Axes: `L` frames at model steps, `A` action dimension, `R` readouts; image height and width are `h w`. A row is what a
data set holds of one moment.
"""
