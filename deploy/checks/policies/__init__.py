"""What every rendering of the chart has to keep to, a function for each rule; it yields what breaks it.

`breakages.py` breaks each of them once.
"""

from collections.abc import Callable, Iterator

from deploy.checks.policies import network, operation, pods
from deploy.checks.release import Release

Rule = Callable[[Release], Iterator[str]]

RULES: tuple[Rule, ...] = (
    pods.runs_as_somebody_else_than_root,
    pods.has_a_seccomp_profile,
    pods.has_no_privileges,
    pods.shares_nothing_with_its_node,
    pods.writes_nothing_but_bounded_scratch,
    pods.holds_no_token,
    pods.images_are_pinned,
    network.denies_by_default,
    network.lets_through_what_is_needed,
    network.balances_between_tritons,
    network.selectors_find_their_pods,
    operation.resources_are_known,
    operation.is_probed,
    operation.has_time_to_drain,
    operation.outlives_a_node,
    operation.names_are_unique,
    operation.scalers_are_alone_and_go_by_rates,
    operation.reads_worlds_from_one_place,
)


def broken(release: Release) -> dict[str, list[str]]:
    """What breaks rules, by the name of the rule; empty where nothing does."""
    found = {rule.__name__: list(rule(release)) for rule in RULES}
    return {name: violations for name, violations in found.items() if violations}
