from __future__ import annotations

import json

import torch

from pipelines.hardware import describe_hardware


def test_it_names_what_results_depend_on() -> None:
    found = describe_hardware("cpu")
    assert found["torch"] == torch.__version__
    assert found["n_threads"] == torch.get_num_threads()
    assert found["cpu"]
    assert found["gpus"] == []
    assert json.loads(json.dumps(found)) == found


def test_it_is_the_same_twice() -> None:
    assert describe_hardware("cpu") == describe_hardware("cpu")
