"""Versions and commit; processes that share their statistics, or are refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from msanet.errors import InputError
from msanet.train.environment import SharedBatchNorm, check_processes, commit, environment, share_statistics

ROOT = Path(__file__).parents[2]


def test_the_environment_names_what_figures_depend_on():
    facts = environment()
    assert facts["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert facts["threads"] == torch.get_num_threads()


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commit(ROOT / "msanet") is None


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_somebody_elses_repository_gives_no_commit(tmp_path):
    package = tmp_path / "lib" / "msanet"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (tmp_path / "other.txt").touch()
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "other.txt"], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    assert commit(package) is None
    subprocess.run([*git, "add", "lib"], check=True)
    subprocess.run([*git, "commit", "-qm", "y"], check=True)
    assert len(commit(package) or "") == 40


def accelerator(processes: int) -> Any:
    return SimpleNamespace(num_processes=processes)


def test_processes_that_would_train_alone_are_refused(monkeypatch):
    for name in ("WORLD_SIZE", "MASTER_ADDR", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    check_processes(accelerator(1), 7)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="2 processes were started, but 1 works"):
        check_processes(accelerator(1), 8)
    check_processes(accelerator(2), 8)
    with pytest.raises(InputError, match="batch_size 7 cannot be shared by 2 processes"):
        check_processes(accelerator(2), 7)
    monkeypatch.delenv("WORLD_SIZE")  # as accelerate launch --cpu --num_processes 2 does
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    with pytest.raises(InputError, match="one process works"):
        check_processes(accelerator(1), 8)


SCRIPT = """
import os, torch, torch.distributed as dist
from torch import nn
from msanet.train.environment import share_statistics

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1))
whole = torch.randn(6, 2, 5, 5, generator=torch.Generator().manual_seed(1))
alone = nn.Sequential(*[type(m)(*a) for m, a in zip(net, ((2, 3, 3), (3,), (), (3, 2, 1)))])
alone.load_state_dict(net.state_dict())
share_statistics(net, torch.device("cpu"))
part = whole[3 * rank : 3 * rank + 3]
(net(part) ** 2).mean().backward()
for parameter in net.parameters():
    dist.all_reduce(parameter.grad); parameter.grad /= 2
(alone(whole) ** 2).mean().backward()
for one, other in zip(net.parameters(), alone.parameters()):
    torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)
for name, value in net.state_dict().items():
    torch.testing.assert_close(value, alone.state_dict()[name], rtol=1e-5, atol=1e-6)
dist.destroy_process_group()
"""


def test_two_processes_share_the_statistics_and_gradients_of_one(tmp_path):
    script = tmp_path / "shared.py"
    script.write_text(SCRIPT)
    run = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-2000:]


def test_shared_layers_keep_names_and_answers():
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Sequential(nn.BatchNorm1d(3, affine=False)))
    network(torch.randn(8, 4))
    values = torch.randn(5, 4)
    names, expected = list(network.state_dict()), network.eval()(values)
    share_statistics(network, torch.device("cpu"))
    assert isinstance(network[1], SharedBatchNorm)
    assert sorted(network.state_dict()) == sorted(names)
    torch.testing.assert_close(network(values), expected)
