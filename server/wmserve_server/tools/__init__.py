"""The tools of a tool-calling model, each defined once.

    TOOLS -> openapi.json and its strict variant      (openapi)
          -> definitions for OpenAI's and Anthropic's APIs (definitions)
          -> POST /v1/tools/<verb>                    (http_api)
          -> MCP                                      (mcp_api)

What a tool takes and answers is flat and small, for a model to write and read; programs have the verbs themselves.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wmserve_server.tools import answers, arguments, calls
from wmserve_server.world_model import WorldModel

EXAMPLE_IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAAHAAAABwBAMAAAA0zul4AAAAMFBMVEX//////v7+/v7//f3//Pz/+vr/9vb/8fH/5ub+zs7/rKz/iYmAgIChfHz/"
    "OjoAAABt90I2AAABh0lEQVR42u2YQW7bQAxF3yjZtYDJnEDxCYq0979BAJ/A0r6AyUWBrjTswm2c1nY81CJIgeHCMiA/fGL4+SEL2DgX63PElTsb"
    "h4GV9R+BJd5bkT6ODq6q++u3lmd+rAJ/fuvj6GAHs4H8YRJAgbeavKJY9PSZAVVe6SbA8nfH7aBc+X4L1JXjKO9uOVlpgN+dDiPsU+BRcHgS4jZ5"
    "ZrnhSUWMOmfBR31UCtsEWAAGVS0CjHNOsagWEYjt/PZg7886VRUpEWX83qooAKKoIGGaO5xBUfnK82m9mi0n3MEX/dNAIgEA7qA85BRL62r9CwYG"
    "LLfj6qxVYwEcKsdrI2jgu2UX5jnF6max7Mzx9jm6AOFhEGF1/pTy6rT1AmHmybWqkxKE2eF4xi3g8Vf7kSAmSy9ynbCN10MmOlwApniodpjTmUPd"
    "z+M+Z7l4QbNeddpr4IJkfjt8LRivA8gzJreTduT28UUmu8hhbdwFAxh66jj3T8fWhFV/Qu5gBzvYwQ7eqv4O+UOBvwA924wUMapjowAAAABJRU5E"
    "rkJggg=="
)
"""Two-Room, 112 x 112 pixels."""


@dataclass(frozen=True)
class Tool:
    """One tool."""

    verb: str
    summary: str
    """One line: when to use it."""
    description: str
    """The rest of what a model should know before it uses it."""
    arguments: type[arguments.Arguments]
    answer: type[answers.Part]
    call: Callable[[WorldModel, Any], Awaitable[Any]]
    example: Mapping[str, Any]
    """Arguments that work as they stand where Two-Room is served."""
    read_only: bool = True
    """Whether it leaves the server's picture of the world as it was; handles expire and do not count."""
    idempotent: bool = True

    @property
    def name(self) -> str:
        """What models call it, and the operation's id in OpenAPI."""
        return f"wmserve_{self.verb}"


_ALL = (
    Tool(
        verb="worlds",
        summary="Use first: lists the worlds, or says what one sees, does and reads, in which units and bounds.",
        description="A world is a learned model of one environment. Its card says how many images it starts from, what "
        "the numbers of an action mean, how many environment steps belong together (action_block), what can be read "
        "from its states, and how far it may be believed.",
        arguments=arguments.WorldsArguments,
        answer=answers.WorldsAnswer,
        call=calls.worlds,
        example={"world": "two_room"},
    ),
    Tool(
        verb="encode",
        summary="Use to turn what a camera sees, now or as a goal, into a handle (latents_id) that other tools take.",
        description="Says also what is read from the picture and whether it looks familiar. Handles expire if "
        "they are not used for a while, ten minutes unless the server is set otherwise; encode again then.",
        arguments=arguments.EncodeArguments,
        answer=answers.EncodeAnswer,
        call=calls.encode,
        example={"world": "two_room", "images": [EXAMPLE_IMAGE]},
        idempotent=False,
    ),
    Tool(
        verb="rollout",
        summary="Use to ask what will happen if certain actions are taken, before anybody takes them.",
        description="One sequence of actions a call; call it again to compare others. Nothing moves: this is a "
        "prediction, with how far off it may be.",
        arguments=arguments.RolloutArguments,
        answer=answers.RolloutAnswer,
        call=calls.rollout,
        example={"world": "two_room", "images": [EXAMPLE_IMAGE], "actions": [[1, 0], [0, -1]], "hold_steps": 5},
    ),
    Tool(
        verb="plan",
        summary="Use to be told which actions bring about a goal, given as a picture or as wanted readouts.",
        description="Nothing moves: whoever asked executes the actions. A plan that is not to be believed, or breaks "
        "keep_out or keep_in, is refused and comes without actions. Execute only execute_steps of it, then tell "
        "wmserve_observe what is seen and plan again from there, until the goal is reached.",
        arguments=arguments.PlanArguments,
        answer=answers.PlanAnswer,
        call=calls.plan,
        example={
            "world": "two_room",
            "images": [EXAMPLE_IMAGE],
            "goal_readouts": [{"readout": "agent_x", "value": 60}, {"readout": "agent_y", "value": 90}],
        },
        idempotent=False,
    ),
    Tool(
        verb="observe",
        summary="Use after actions were executed, to say what is seen now and learn whether that was a surprise.",
        description="Its latents_id is where to plan from next. Name a session for each episode, and it notices when "
        "the world is no longer the one that the model knows.",
        arguments=arguments.ObserveArguments,
        answer=answers.ObserveAnswer,
        call=calls.observe,
        example={
            "world": "two_room",
            "start_images": [EXAMPLE_IMAGE],
            "actions": [[0, 0]] * 5,
            "images": [EXAMPLE_IMAGE],
        },
        read_only=False,
        idempotent=False,
    ),
)
TOOLS: Mapping[str, Tool] = {tool.name: tool for tool in _ALL}
"""By name."""
