"""Carries plans out in environments: `wmserve execute` for calibration, `wmserve evaluate` for success.

simulators.py    what an environment is to these commands, and what a function of your own may return
gymnasium_env.py Gymnasium's environments, stable-worldmodel's among them, as simulators
stage.py         one simulator, checked: frames, actions, goals, success
stages.py        one stage for each thread
opening.py       `gymnasium:ID | stable-worldmodel:ID | MODULE:FUNCTION` -> a stage
problems.py      where to start and where to go: from resets or a function of your own
recorded.py      the same from trajectories
serving.py       a client of a running server, or of one that is started (processes.py)
acting.py        contexts, and plans executed to their end
executing.py     many of them at once
kept.py          the folder that they are kept in
policies.py      who plays: the server, the environment's expert, chance; peer.py: the peer's solver
playing.py       episodes, and reporting.py what came of them
options.py, commands.py  what both commands have in common
execute.py, evaluate.py  the commands
"""


class EnvironmentFault(ValueError):
    """An environment that cannot be used so; the message says what to do."""
