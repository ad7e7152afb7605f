"""Studies in buckets of servers that run here, with the conditional writes of S3 and of GCS."""

import signal

import jax
import numpy as np
import pytest

from scripts.local_gcs import gcs_server
from scripts.local_s3 import s3_server
from scripts.proxy import Reply, proxy
from signsal_jax import sharding
from signsal_jax.study import StudyError, UnfinishedError, open_study, run_study
from signsal_jax.study._folder import open_folder
from signsal_jax.study._leases import Leases
from signsal_jax.study._workers import Worker
from signsal_jax.study._writer import Writer
from tests import study_worker


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as environment:
        yield environment


@pytest.fixture(scope="module")
def gs(tmp_path_factory):
    with gcs_server(tmp_path_factory.mktemp("gs") / "log") as environment:
        yield environment


@pytest.fixture(scope="module", params=["s3", "gs"])
def bucket(request):
    """The address of a bucket; the environment says where it is."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in request.getfixturevalue(request.param).items():
            patch.setenv(name, value)
        yield f"{request.param}://bucket"


def run(out):
    config = study_worker.config(store=("logits", "runner_up"), group=2)
    mesh = sharding.make_mesh(jax.devices()[:1])
    splits = study_worker.splits()
    return run_study(config, study_worker.model(), splits, out, mesh=mesh)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    out = tmp_path_factory.mktemp("local") / "study"
    return out, run(out)


def test_a_study_in_a_bucket_has_the_bits_of_one_in_a_folder(bucket, local, monkeypatch):
    out = f"{bucket}/studies/whole"
    write = Writer.write

    def interrupted(store, *group):
        signal.raise_signal(signal.SIGTERM)
        return write(store, *group)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "write", interrupted)
        with pytest.raises(UnfinishedError, match=rf"{out}: stopped at [1-2] of 3"):
            run(out)
    assert 0 < len(open_study(out).committed()) < 3
    assert open_folder(out).names("leases") == open_folder(out).names("workers") == []
    assert run(out) == local[1]
    one, two = open_study(out), open_study(local[0])
    assert one.verify() == []
    for name, array in two.arrays().items():
        np.testing.assert_array_equal(one.arrays()[name], array, err_msg=name)
    assert open_folder(out).names() == ["arrays.zarr", "commits", "manifest.json", "summary.json"]


def test_one_of_two_gets_a_group(bucket):
    folder = open_folder(f"{bucket}/race")
    folder.require_conditional_writes()
    with Worker(folder) as a, Worker(folder) as b:
        one, two = (Leases(folder, w, lambda: [0, 1, 2], lambda _: False) for w in (a, b))
        first, second = (leases.claims(lambda: False) for leases in (one, two))
        found = [next(first), next(second), next(second)]
        assert sorted(found) == [0, 1, 2]
        assert list(first) == list(second) == []
        with one, two:
            pass
    assert folder.names("leases") == folder.names() == []


def test_a_file_is_replaced_once(bucket):
    one, two = (open_folder(f"{bucket}/replaced") for _ in range(2))
    assert one.create("x", "a")
    assert not two.create("x", "b")
    assert two.replace("x", b"a", "b")
    assert not one.replace("x", b"a", "c")
    read = one._objects.read
    stale = read("x").result()
    two.write("x", "c")
    one._objects.write("x", b"d", if_equal=stale.stamp.generation).result()
    assert one.read(["x"]) == [b"c"]


def test_a_bucket_that_is_not_there_is_named(bucket):
    nowhere = bucket.replace("bucket", "nowhere")
    with pytest.raises(StudyError, match=rf"{nowhere}/study: there is no such bucket, or no more"):
        run(f"{nowhere}/study")
    with pytest.raises(StudyError, match=rf"{nowhere}/study: expected a folder made by signsal"):
        open_study(f"{nowhere}/study")


# What goes wrong.


class Trouble:
    """Changes requests once it is told to."""

    kind = None

    def __call__(self, request):
        conditional = any(name in request.headers for name in ("if-match", "if-none-match"))
        write = request.method == "PUT"
        if self.kind == "expired":
            return refused(403, "ExpiredToken", "The provided token has expired.")
        if self.kind == "vanished":
            return refused(404, "NoSuchBucket", "The specified bucket does not exist")
        if self.kind == "forgets conditions" and write:
            kept = {k: v for k, v in request.headers.items() if not k.startswith("if-")}
            return request._replace(headers=kept)
        if self.kind == "refuses conditions" and write and conditional:
            return refused(501, "NotImplemented", "A header you provided is not implemented")
        return request


def refused(status, code, message):
    return Reply(status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode())


@pytest.fixture
def trouble(s3, monkeypatch):
    found = Trouble()
    with proxy(int(s3["AWS_ENDPOINT_URL"].rpartition(":")[2]), found) as port:
        for name, value in s3.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        yield found


@pytest.mark.parametrize("kind", ["forgets conditions", "refuses conditions"])
def test_a_store_without_conditional_writes_is_refused(trouble, kind):
    trouble.kind = kind
    with pytest.raises(StudyError, match="s3://bucket/bare has no conditional writes"):
        run("s3://bucket/bare")
    assert open_folder("s3://bucket/bare").names() == []


def test_a_gcs_server_that_forgets_conditions_is_refused(tmp_path, monkeypatch):
    with gcs_server(tmp_path / "log", conditions=False) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(StudyError, match="gs://bucket/bare has no conditional writes"):
            run("gs://bucket/bare")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("expired", r"the credentials have expired, or do not allow this\. Renew .*ExpiredToken"),
        (
            "vanished",
            r"removed or replaced while the study ran|there is no such bucket, or no more",
        ),
    ],
)
def test_what_is_lost_in_between_is_named_and_costs_nothing_committed(
    trouble, kind, message, local, monkeypatch
):
    out, write = f"s3://bucket/{kind}", Writer.write

    def troubled(store, group, *rest):
        trouble.kind = kind if group else None
        return write(store, group, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "write", troubled)
        with pytest.raises(StudyError, match=f"s3://bucket/{kind}.*{message}"):
            run(out)
    with pytest.raises(StudyError, match="s3://bucket"):
        run(out)
    trouble.kind = None
    assert open_study(out).committed() == [0]
    # Its leases were not given back: another worker waits until this one shows no sign.
    monkeypatch.setattr("signsal_jax.study._workers.GONE_SECONDS", 0.5)
    assert run(out) == local[1]


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
