"""What is learned from the tokens of a training corpus: shortlists, from a run to its pack."""

import shutil

import numpy as np
import pytest
from reverse_task import train

import attention_zoo
from attention_zoo.recipes.core.run import Run
from attention_zoo.recipes.presets.packing import pack_run

WORDS = ["abcd", "dcba", "aab"]


@pytest.mark.usefixtures("eager")
def test_a_run_gets_a_shortlist_by_its_setting_and_a_pack_has_it(
    trained, reverse_files, tmp_path, capsys
):
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    assert train(reverse_files, folder, settings=["shortlist=3"]) == 0
    assert "shortlist=3, 0 before" in capsys.readouterr().out
    run = attention_zoo.load(folder)
    assert run.generation.shortlist == 3 and run.shortlist.likely.shape[1] == 3
    # Of so few tokens all that are written are frequent.
    written = np.unique(np.concatenate(run.tokenizer.encode(WORDS)))
    assert set(written) <= set(run.shortlist.always)
    expected = attention_zoo.load(folder, shortlist=0)
    assert [p.text for p in run.predict(WORDS)] == [p.text for p in expected.predict(WORDS)]
    with pytest.raises(ValueError, match="shortlist=4, of 3 tokens"):
        attention_zoo.load(folder, shortlist=4).predict(WORDS)

    pack_run(Run(folder), tmp_path / "short.zip", "float32", report=lambda line: None)
    packed = attention_zoo.load(tmp_path / "short.zip")
    np.testing.assert_array_equal(packed.shortlist.likely, run.shortlist.likely)
    assert packed.predict(WORDS) == run.predict(WORDS)
    assert len(packed.trackables()) == 2  # with the table
    (folder / "shortlist.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="Expected tensors as of safetensors"):
        attention_zoo.load(folder)
