"""Integrates a gripper's pose along actions: for all candidates at once, in float32 and in ops of ONNX and TensorRT.

A pose is x, y, z [m], roll, pitch, yaw [rad] and closedness 0..1; an action is what is added to each, where rotations
are multiplied: ``R' = R(action) R(pose)``, ``R = Rz(yaw) Ry(pitch) Rx(roll)`` (extrinsic "xyz").

Multiplying matrices and reading angles from them loses digits where the gripper points straight up or down, and a
robot's gripper mostly points down: roll is near pi. Here three things keep float32's digits:

- Roll is the rotation that comes first, and the action's yaw the one that comes last: both are added to the angles of
  what is between them. An action that does not rotate changes no angle by more than rounding.
- What is between is multiplied as unit quaternions (w, x, y, z) in the form ``p = (w + y) + i (z - x)`` and
  ``m = (w - y) + i (z + x)``, over sqrt(2). Then ``|p| = cos(pitch / 2 - pi/4)``, ``|m| = cos(pitch / 2 + pi/4)``,
  ``2 arg p = yaw - roll`` and ``2 arg m = yaw + roll``: no angle is a difference of two large numbers. (The formulas
  by which scipy reads angles from quaternions: Bernardes and Viollet, PLOS ONE 17(11), 2022.)
- Left multiplication by (W, X, Y, Z) is ``p' = u p + v m*``, ``m' = u m - v p*`` with ``u = W + iZ``, ``v = Y - iX``.

Angles come out within 1e-6 of float64's where an action turns by less than 0.1 rad, as a robot's do, and cos(pitch) is
over 0.02; within 1e-6 / cos(pitch) for any action. Positions and closedness are exact.

Gimbal lock: where pitch is within 1e-7 of +-pi/2, yaw is 0 and roll has all of the rotation, as in scipy. Close to it
only the sum of yaw and roll, or their difference, is well defined, and how it is shared between the two loses digits;
the rotation itself stays within 1e-6.
"""

import torch
from torch import Tensor

LOCKED = 5e-8
"""|m| or |p| where pitch is within 1e-7 of +-pi/2."""
PI, PI_REST = 3.1415927410125732, -8.742277657347586e-8
"""The float32 nearest to pi, and what is missing."""
UNDER_PI = 3.1415925025939941
"""The largest float32 under pi."""


def integrate(pose: Tensor, action: Tensor) -> Tensor:
    """Poses and actions `[..., 7]` -> the next poses `[..., 7]`, angles in -pi..pi, pitch in -pi/2..pi/2."""
    position = pose[..., :3] + action[..., :3]
    closedness = torch.clamp(pose[..., 6:] + action[..., 6:], 0.0, 1.0)
    return torch.cat([position, rotate(pose[..., 3:6], action[..., 3:6]), closedness], dim=-1)


def rotate(pose: Tensor, action: Tensor) -> Tensor:
    """Angles (roll, pitch, yaw) of `R(action) R(pose)`, all `[..., 3]`."""
    roll, pitch, yaw = torch.split(pose, 1, dim=-1)
    first, second, last = torch.split(action, 1, dim=-1)
    real, imaginary = between(pitch, yaw, first, second)
    size = torch.sqrt(real * real + imaginary * imaginary)
    locked = size < LOCKED
    # Where one of p and m is lost, the conjugate of the other in its place leaves a yaw of 0, and all else to roll.
    real = torch.where(locked, exchanged(real), real)
    imaginary = torch.where(locked, -exchanged(imaginary), imaginary)
    (a, c), (b, d), (above, below) = (torch.split(both, 1, dim=-1) for both in (real, imaginary, size))
    sines = torch.cat([a * d - b * c, (above - below) * (above + below), a * d + b * c], dim=-1)
    cosines = torch.cat([a * c + b * d, 2.0 * above * below, a * c - b * d], dim=-1)
    down, up = torch.split(locked.to(last.dtype), 1, dim=-1)
    outer = torch.cat([roll + (down - up) * last, torch.zeros_like(last), (1.0 - down - up) * last], dim=-1)
    return wrapped(atan2(sines, cosines) + outer)


def between(pitch: Tensor, yaw: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """p and m of ``Ry(second) Rx(first) Rz(yaw) Ry(pitch)``: real and imaginary parts `[..., 2]`; angles `[..., 1]`."""
    # What is missing to +-pi/2 is exact in float32 where it is small.
    above, below = (PI / 2 + pitch) + PI_REST / 2, (PI / 2 - pitch) + PI_REST / 2
    halves = torch.cat([yaw, first, second, above, below, below, -above], dim=-1) / 2
    sin, sin_first, sin_second, size, other = torch.split(torch.sin(halves), [1, 1, 1, 2, 2], dim=-1)
    cos, cos_first, cos_second, _ = torch.split(torch.cos(halves), [1, 1, 1, 4], dim=-1)
    u = times((cos_second * cos_first, -sin_second * sin_first), (size * cos, size * sin))
    v = times((sin_second * cos_first, -cos_second * sin_first), (other * cos, -other * sin))
    return u[0] + v[0], u[1] + v[1]


def times(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Product of complex numbers; ONNX has none."""
    (a, b), (c, d) = one, other
    return a * c - b * d, a * d + b * c


def exchanged(both: Tensor) -> Tensor:
    """`[..., 2]`, the second first."""
    return torch.cat([both[..., 1:], both[..., :1]], dim=-1)


def atan2(y: Tensor, x: Tensor) -> Tensor:
    """The angle of (x, y), 0 at the origin, from ``atan`` of ratios up to 1.

    What ``torch.atan2`` becomes in ONNX turns (-1, 0), where a gripper that points down has its roll, into -pi.
    """
    wide, high = x.abs(), y.abs()
    ratio = torch.minimum(wide, high) / torch.clamp(torch.maximum(wide, high), min=1e-30)
    turn = torch.atan(ratio)
    turn = torch.where(high > wide, (PI / 2 - turn) + PI_REST / 2, turn)
    turn = torch.where(x < 0, (PI - turn) + PI_REST, turn)
    return torch.where(y < 0, -turn, turn)


def wrapped(turn: Tensor) -> Tensor:
    """Angles in -3 pi..3 pi brought to -pi..pi, at both of which float32 ends just before pi."""
    turn = torch.where(turn > UNDER_PI, (turn - 2 * PI) - 2 * PI_REST, turn)
    return torch.where(turn < -UNDER_PI, (turn + 2 * PI) + 2 * PI_REST, turn)
