"""`regraft predict`: a folder through the champion of a workspace that was really trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flows.batch_prediction import predict_batch
from flows.cli.app import main
from flows.promotion import promote_version
from pipelines.core.errors import ConfigurationError
from pipelines.progress import silent
from pipelines.workspace import Workspace
from tests.flows.conftest import preserved_environment
from tests.flows.registered import candidate_of, make_workspace_of_digits, register_candidate, session_of

pytestmark = [
    pytest.mark.usefixtures("identity", "clean_environment"),
    pytest.mark.filterwarnings("ignore:_NoneStep.value will soon raise:DeprecationWarning:dvc"),
]


@pytest.fixture
def digits(tmp_path: Path) -> Workspace:
    return make_workspace_of_digits(tmp_path)


@pytest.mark.slow
def test_the_champion_predicts_a_folder(digits: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = session_of(digits)
    with pytest.raises(ConfigurationError, match=r"digits3, which has no champion to predict with.*regraft retrain"):
        predict_batch(session, tmp_path / "source", tmp_path / "out.csv", silent)
    promote_version(session, register_candidate(session, candidate_of(session)), "test")
    out = tmp_path / "out.csv"
    with preserved_environment(), pytest.raises(SystemExit) as caught:
        main(["predict", str(tmp_path / "source"), "--out", str(out), "--workspace", str(digits.root), "--json"])
    assert not caught.value.code
    summary = json.loads(capsys.readouterr().out)
    assert (summary["out"], summary["n_predicted"], summary["n_problems"]) == (str(out), 360, 0)
    table = pd.read_csv(out)
    truth = table["path"].str.partition("/")[0]
    assert np.mean(table["label"] == truth) > 0.95
    assert summary["n_by_label"] == table["label"].value_counts().sort_index().to_dict()
