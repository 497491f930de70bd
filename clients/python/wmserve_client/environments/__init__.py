"""Carries plans out in environments: `wmserve execute` for calibration, `wmserve evaluate` for success.

simulators.py    what an environment is to these commands, and what a function of your own may return
gymnasium_env.py Gymnasium's environments, stable-worldmodel's among them, as simulators
stage.py         one simulator, checked: frames, actions, goals, success
opening.py       `gymnasium:ID | stable-worldmodel:ID | MODULE:FUNCTION` -> a stage
problems.py      where to start and where to go: from trajectories, resets or a function of your own
serving.py       a client of a running server, or of one that is started
acting.py        contexts, and plans executed to their end
policies.py      who plays: the server, the peer's solver, the environment's expert, chance
execute.py, evaluate.py  the commands
"""


class EnvironmentFault(ValueError):
    """An environment that cannot be used so; the message says what to do."""
