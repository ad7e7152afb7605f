"""Studies in an S3 bucket, of a server that runs here; S3's own conditional writes, no mock."""

import signal
import socket
import subprocess
import sys
import time
import urllib.request

import jax
import numpy as np
import pytest

from signsal_jax import sharding
from signsal_jax.study import Store, StudyError, UnfinishedError, open_study, run_study
from signsal_jax.study._folder import open_folder
from signsal_jax.study._leases import Leases
from signsal_jax.study._workers import Worker
from tests import study_worker


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    """The address of a bucket; the environment says where it is."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    log = tmp_path_factory.mktemp("s3") / "log"
    with log.open("wb") as file:
        server = subprocess.Popen([sys.executable, "-c", code], stdout=file, stderr=file)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
            patch.setenv("AWS_REGION", "us-east-1")
            patch.setenv("AWS_ACCESS_KEY_ID", "key")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
            patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
            make = urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT")
            for _ in range(300):
                try:
                    urllib.request.urlopen(make, timeout=10).close()
                    break
                except OSError:
                    assert server.poll() is None, log.read_text()
                    time.sleep(0.1)
            yield "s3://bucket"
    finally:
        server.kill()
        server.wait()


def run(out):
    config = study_worker.config(store=("logits", "runner_up"))
    mesh = sharding.make_mesh(jax.devices()[:1])
    splits = study_worker.splits()
    return run_study(config, study_worker.model(), splits, out, mesh=mesh)


def test_a_study_in_a_bucket_has_the_bits_of_one_in_a_folder(s3, tmp_path, monkeypatch):
    out = f"{s3}/studies/whole"
    write = Store.write

    def interrupted(store, *chunk):
        signal.raise_signal(signal.SIGTERM)
        return write(store, *chunk)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", interrupted)
        with pytest.raises(UnfinishedError, match=r"s3://bucket/studies/whole: stopped at [1-5]"):
            run(out)
    assert 0 < len(open_study(out).committed()) < 6
    assert open_folder(out).names("leases") == open_folder(out).names("workers") == []
    summary = run(out)
    assert summary == run(tmp_path / "local")
    one, two = open_study(out), open_study(tmp_path / "local")
    assert one.verify() == []
    for name, array in two.arrays().items():
        np.testing.assert_array_equal(one.arrays()[name], array, err_msg=name)


def test_one_of_two_gets_a_chunk(s3):
    folder = open_folder(f"{s3}/race")
    with Worker(folder) as a, Worker(folder) as b:
        one, two = (Leases(folder, w, lambda: [0, 1, 2], lambda _: False) for w in (a, b))
        first, second = (leases.claims(lambda: False) for leases in (one, two))
        found = [next(first), next(second), next(second)]
        assert sorted(found) == [0, 1, 2]
        assert list(first) == list(second) == []
        with one, two:
            pass
    assert folder.names("leases") == []


def test_a_bucket_that_is_not_there_is_named(s3):
    with pytest.raises((StudyError, ValueError), match=r"nowhere"):
        run("s3://nowhere/study")
    with pytest.raises(StudyError, match=r"s3://nowhere/study: expected a folder made by signsal"):
        open_study("s3://nowhere/study")


def test_the_environment_says_where_s3_is(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    assert open_folder("s3://bucket/a").kvstore("x") == {
        "driver": "s3",
        "bucket": "bucket",
        "path": "a/x/",
    }
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://here:1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    spec = open_folder("s3://bucket").kvstore("x")
    assert (spec["endpoint"], spec["aws_region"]) == ("http://here:1", "eu-north-1")
