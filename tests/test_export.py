"""Studies as xarray and as a table, against what the study's own arrays give."""

import csv

import numpy as np
import pytest

from signsal_jax import cli, sharding
from signsal_jax.study import image_columns, open_study, run_study
from tests import study_worker


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "study"
    config = study_worker.config(store=("logits", "gram"))
    run_study(config, study_worker.model(), study_worker.splits(), out, mesh=sharding.make_mesh())
    (out / "commits" / "00000001.json").unlink()  # as of a study that is still at work
    return open_study(out)


def test_a_dataset_has_the_committed_images_with_names(store):
    pytest.importorskip("xarray")
    found = store.to_xarray()
    assert found["image"].values.tolist() == [*range(4), *range(8, 22)]
    assert found.attrs["dataset"] == "toys"
    logits = store.arrays()["logits"]
    np.testing.assert_array_equal(found["logits"].sel(image=9, **{"class": "c"}), logits[9, 2])
    gram = found["gram"]
    assert gram.dims == ("image", "class", "other_class")
    np.testing.assert_array_equal(
        gram.sel({"image": 21, "class": "a", "other_class": "e"}), store.arrays()["gram"][21, 0, 4]
    )
    assert set(store.to_xarray(["label"]).data_vars) == {"label"}
    with pytest.raises(ValueError, match=r"names: expected one of .*; got 'maps'"):
        store.to_xarray(["maps"])


def test_the_table_has_every_scalar_of_the_committed_images(store, tmp_path, capsys):
    columns = image_columns(store)
    assert {"image", "label", "predicted", "target", "valid", "logits_a", "logits_e"} <= set(
        columns
    )
    assert not any(name.startswith("gram") for name in columns)
    np.testing.assert_array_equal(
        columns["logits_b"], store.arrays()["logits"][columns["image"], 1]
    )
    path = tmp_path / "images.csv"
    assert cli.main(["study", "--status", str(store.root), "--export", str(path)]) == 0
    assert f"18 images: {path}" in capsys.readouterr().out
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(columns)
    assert [float(row["logits_a"]) for row in rows] == columns["logits_a"].tolist()
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "images.parquet"
    assert cli.main(["study", "--status", str(store.root), "--export", str(path)]) == 0
    table = parquet.read_table(path)
    np.testing.assert_array_equal(table["logits_d"].to_numpy(), columns["logits_d"])


def test_an_export_of_what_is_no_study_or_to_no_table_is_refused(store, tmp_path, capsys):
    assert cli.main(["study", "--export", str(tmp_path / "x.csv")]) == 1
    assert "--export: expected with --status DIR" in capsys.readouterr().err
    path = str(tmp_path / "x.xlsx")
    assert cli.main(["study", "--status", str(store.root), "--export", path]) == 1
    assert "got 'xlsx'" in capsys.readouterr().err
