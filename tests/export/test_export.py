"""What an export writes, and that it writes the same twice."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton
from wmserve.world import CONTRACT_PARAMETER, VERBS, World
from wmserve_export import families
from wmserve_export.__main__ import main
from wmserve_export.contract import EXACT
from wmserve_export.engines import Engine
from wmserve_export.examples import Examples
from wmserve_export.onnx_graphs import graph
from wmserve_export.runtime import Runner

from tests.conftest import ROOT
from tests.export import linear_world
from tests.export.conftest import Exported


def read_config(repository: Path, model: str) -> triton.ModelConfig:
    return text_format.Parse((repository / model / "config.pbtxt").read_text(), triton.ModelConfig())


def read_world(repository: Path, name: str) -> World:
    config = read_config(repository, f"{name}_encode")
    return World.model_validate_json(config.parameters[CONTRACT_PARAMETER].string_value)


def digests_of(repository: Path, name: str) -> dict[str, str]:
    """Digests of the engines that lie in a repository, by the keys of a contract."""
    return {
        f"{verb}/{file.name}": f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
        for verb in VERBS
        for file in sorted((repository / f"{name}_{verb}" / "1").iterdir())
    }


def test_the_three_models_carry_one_contract_and_its_digests_are_those_of_the_files(exported: Exported) -> None:
    """A gateway trusts a world only whole: same contract in each model, one digest for each engine file."""
    contracts = {
        read_config(exported.repository, f"linear_{verb}").parameters[CONTRACT_PARAMETER].string_value for verb in VERBS
    }
    assert len(contracts) == 1
    world = World.model_validate_json(contracts.pop())
    assert world.digests.engines == digests_of(exported.repository, "linear")
    assert world.engine_horizons == (2,)
    assert world.horizon_limit == 2


def test_triton_is_told_to_batch_and_never_to_queue(exported: Exported) -> None:
    """Any queue bound, timeout or priority in the configuration lets Triton's batcher sleep 500 ms."""
    for verb in VERBS:
        config = read_config(exported.repository, f"linear_{verb}")
        assert config.max_batch_size > 1
        assert config.HasField("dynamic_batching")
        assert config.dynamic_batching == triton.ModelDynamicBatching()


def test_the_report_lies_with_the_world(exported: Exported) -> None:
    """The gates' figures travel with what they were measured on."""
    assert max(exported.report["parity"]["errors"].values()) <= 1e-4
    assert exported.report["rank"]["problems"] == EXACT
    assert exported.report["digests"] == read_world(exported.repository, "linear").digests.model_dump()


def test_nodes_are_called_by_the_modules_that_they_come_from(exported: Exported) -> None:
    """So that a profile can be read; names are unique, and the graph's own nodes have no module before them."""
    for verb, file, wanted in (
        ("encode", "engine.onnx", {"encoder/MatMul", "head/MatMul", "ReduceMean"}),
        ("plan", "horizon_2.onnx", {"MatMul", "head/Add", "CumSum"}),
    ):
        model = onnx.load(exported.repository / f"linear_{verb}" / "1" / file)
        names = [node.name for node in model.graph.node]
        assert len(set(names)) == len(names)
        assert wanted <= set(names)
        assert all(re.fullmatch(rf"(?:.+/)?{node.op_type}(?:_\d+)?", node.name) for node in model.graph.node)


@pytest.mark.parametrize("sizes", [{"B": 1, "S": 1}, {"B": 3, "S": 40}])
def test_a_world_with_a_history_takes_it(exported: Exported, sizes: dict[str, int]) -> None:
    """With two context frames, the actions between them are an input of its own and change the answer."""
    family = families.load(exported.checkpoint)
    engine = Engine("rollout", 2)
    run = Runner(exported.repository / "linear_rollout" / "1" / engine.file)
    inputs = Examples(None, None).inputs(family.config, engine, sizes, torch.Generator().manual_seed(3))
    assert inputs["action_history"].shape == (sizes["B"], 2, 2)
    answer = run(inputs)
    with torch.inference_mode():
        latents = graph(family, engine)(**inputs)[0].numpy()
    np.testing.assert_allclose(answer["latents"], latents, rtol=1e-5, atol=1e-5)
    moved = run({**inputs, "action_history": inputs["action_history"] + 1})
    assert np.abs(moved["latents"] - answer["latents"]).min() > 0


TRACE_AGAIN = """
import sys
from pathlib import Path
from tests.export import linear_world
from wmserve_export import contract, engines, external_data, onnx_graphs
checkpoint = Path(sys.argv[1])
print(contract.checkpoint_digest(checkpoint))
data = external_data.ExternalData(checkpoint)
print(contract.file_digest(onnx_graphs.export_engine(linear_world.load(checkpoint), engines.Engine("plan", 2), data)))
"""


def test_exporting_twice_gives_the_same_bytes(exported: Exported, tmp_path: Path) -> None:
    """Digests speak of a checkpoint, not of the process, folder or hash seed that it was exported with."""
    checkpoint = linear_world.save(tmp_path / "elsewhere")
    command = [sys.executable, "-c", TRACE_AGAIN, str(checkpoint)]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    again = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
    digests = read_world(exported.repository, "linear").digests
    assert again.split() == [digests.checkpoint, digests.engines["plan/horizon_2.onnx"]]


def test_engines_say_nothing_of_the_machine_that_made_them(exported: Exported) -> None:
    """Torch leaves stack traces in a graph, with paths; they are dropped."""
    for file in exported.repository.rglob("*.onnx"):
        content = file.read_bytes()
        assert b".py" not in content
        assert str(ROOT).encode() not in content


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (None, "no checkpoint folder"),
        ("{}", "key 'family'"),
        ('{"family": "dreamer"}', "family 'dreamer' is not known; known: conv_jepa, "),
        ('{"family": "linear"}', "weights.safetensors"),
    ],
)
def test_what_cannot_be_exported_is_refused_with_a_reason(
    config: str | None, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, a message that says what is missing, and no repository."""
    checkpoint = tmp_path / "checkpoint"
    if config is not None:
        checkpoint.mkdir()
        (checkpoint / "config.json").write_text(config)
    assert main([str(checkpoint), "--repository", str(tmp_path / "repository"), "--quiet"]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "repository").exists()


def test_a_name_that_no_world_may_have_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The contract is checked before minutes go into tracing."""
    checkpoint = linear_world.save(tmp_path / "checkpoint")
    assert main([str(checkpoint), "--repository", str(tmp_path / "repository"), "--name", "Two Rooms"]) == 2
    assert "name" in capsys.readouterr().err
