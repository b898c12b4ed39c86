from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepplan.cli.deployment_file import read_deployment_file
from deepplan.cli.serve_settings import SETTINGS, deployment_of, server_settings_of
from deepplan.errors import DeepPlanError, DocumentError
from deepplan.planning.records import field_types
from deepplan.server.settings import ServerSettings
from deepplan.serving.deployment import Deployment, ServedSource

EVERYTHING = """
models:
  - resnet50
  - source: bert_base
    instances: 3
    name: bert
    dtype: bf16
    batch_sizes: [1, 2]
    pinned: true
    weights: b.safetensors
  - {source: tiny, trust: true}
dtype: fp32
batch_sizes: [1, 8]
gpus: [0, "1", cuda:2, 3]
gpu_memory: 10.5GiB
slo: 100ms
engine: pipeline
pt: 2
coding: no
host: 0.0.0.0
http_port: 9000
grpc_port: null
token_file: secret/token
certificate: /etc/tls.pem
key: tls.key
max_body: 1MiB
max_concurrent: 7
body_timeout: 1s
idle_timeout: 1min
request_timeout: 2.5s
drain_timeout: 2min
log_requests: false
"""
Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a deployment file, into a folder with an exported model, weights and a token, and returns its path."""
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "graph.json").touch()
    (tmp_path / "b.safetensors").touch()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "token").write_text("x-Y-z\n")

    def write_text(text: str) -> str:
        path = tmp_path / "serve.yaml"
        path.write_text(text)
        return str(path)

    return write_text


def test_a_file_can_say_everything(write: Write, tmp_path: Path) -> None:
    read = read_deployment_file(write(EVERYTHING))
    assert set(read) == {"models", *SETTINGS}
    assert deployment_of(read) == Deployment(
        models=(
            ServedSource("resnet50", dtype="fp32", batch_sizes=(1, 8)),
            ServedSource(
                "bert_base",
                instances=3,
                name="bert",
                dtype="bf16",
                batch_sizes=(1, 2),
                pinned=True,
                weights=str(tmp_path / "b.safetensors"),
            ),
            ServedSource(str(tmp_path / "tiny"), trust=True),
        ),
        devices=("0", "1", "cuda:2", "3"),
        gpu_memory_bytes=21 << 29,
        objective_ms=100,
        engine="pipeline",
        pt=2,
        coding=False,
    )
    assert server_settings_of(read) == ServerSettings(
        host="0.0.0.0",
        http_port=9000,
        grpc_port=None,
        token="x-Y-z",
        certificate_file="/etc/tls.pem",
        key_file=str(tmp_path / "tls.key"),
        max_body_bytes=1 << 20,
        max_concurrent_requests=7,
        body_timeout_s=1,
        idle_timeout_s=60,
        request_timeout_s=2.5,
        drain_timeout_s=120,
        log_requests=False,
    )


def test_the_documentation_shows_everything(write: Write, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    for file in ("models/classifier/graph.json", "secrets/token", "bert.safetensors"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("secret")
    read = read_deployment_file(write(example))
    assert set(read) == {"models", *SETTINGS}
    assert {key for model in read["models"] for key in model} == set(field_types(ServedSource))
    assert deployment_of(read).instances() == ("resnet50", "bert-0", "bert-1", "bert-2", "classifier")
    assert server_settings_of(read).token == "secret"


def test_a_file_need_say_little(write: Write) -> None:
    read = read_deployment_file(write("models: [gpt2]"))
    assert deployment_of(read) == Deployment((ServedSource("gpt2"),))
    assert server_settings_of(read) == ServerSettings()


def test_null_is_the_default_of_what_has_none(write: Write) -> None:
    read = read_deployment_file(write("models: [gpt2]\nslo:\ngpu_memory: null\ntoken_file: null"))
    assert deployment_of(read) == Deployment((ServedSource("gpt2"),))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is no mapping"),
        ("- resnet50", "it is no mapping"),
        ("model: [resnet50]", "unknown key 'model'; known are models, gpus,"),
        ("models: resnet50", "models is 'resnet50'; it must be a list"),
        ("models: [1]", "models[0] is 1; it must be a model's name or path"),
        ("models: [gpt2, {name: a}]", "models[1]: the key 'source' is missing"),
        ("models: [{source: gpt2, instance: 2}]", "models[0]: unknown key 'instance'; known are source,"),
        ("models: [{source: gpt2, instances: many}]", "models[0]: instances is 'many'"),
        ("models: [{source: gpt2, dtype: float32}]", "models[0]: dtype is 'float32'"),
        ("models: [{source: gpt2, batch_sizes: 4}]", "models[0]: batch_sizes is 4"),
        ("models: [{source: gpt2, trust: 1}]", "models[0]: trust is 1"),
        ("models: [{source: [gpt2]}]", "models[0]: source is ['gpt2']"),
        ("dtype: int8", "dtype is 'int8'"),
        ("batch_sizes: [2, 4]", "batch_sizes: batch_sizes is [2, 4]; it must be ascending"),
        ("batch_sizes: 1,x", "batch_sizes is '1,x'; it must be a list of numbers"),
        ("gpus: 0", "gpus is 0; it must be a list of GPUs"),
        ("gpus: [true]", "gpus is [True]; it must be a list of GPUs"),
        ("gpus: [tpu:0]", "gpus is ['tpu:0']"),
        ("gpus: [-1]", "gpus is [-1]"),
        ("gpus: [0, 1, '0']", "gpus: the device 0 is named twice"),
        ("gpu_memory: 10", "gpu_memory is 10; it must be a size such as"),
        ("gpu_memory: 10GIB", "gpu_memory 10GIB: it is a size"),
        ("slo: 100", "slo is 100; it must be a duration such as 100ms"),
        ("slo: 1:30", "slo is 90; it must be a duration"),
        ("slo: 100d", "slo (objective_ms) is 8640000000.0; it must be a number from 0.001 to 1e+09"),
        ("engine: magic", "engine is 'magic'; it must be 'deepplan' or"),
        ("pt: 0", "pt is 0"),
        ("pt: yes", "pt is True; it must be a whole number"),
        ("coding: maybe", "coding is 'maybe'"),
        ("coding:", "coding is None"),
        ("host: 5", "host is 5; it must be text"),
        ("http_port: 65536", "http_port is 65536"),
        ("http_port:", "http_port is None"),
        ("token_file: nosuch", "nosuch: cannot be read (No such file"),
        ("token_file: .", ".: cannot be read (Is a directory)"),
        ("token_file: tiny/graph.json", "tiny/graph.json: token must be printable ASCII, and not empty"),
        ("token_file: /dev/zero", "/dev/zero: no token is longer"),
        ("certificate: [x]", "certificate is ['x']; it must be a path"),
        ("max_concurrent: 1.5", "max_concurrent is 1.5"),
        ("drain_timeout: 300d", "drain_timeout (drain_timeout_s) is 25920000.0"),
    ],
)
def test_what_a_file_may_not_say_is_refused_by_name(write: Write, text: str, said: str) -> None:
    path = write(text)
    with pytest.raises(DocumentError) as refused:
        read_deployment_file(path)
    assert str(refused.value).startswith(f"{path}: ") and said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpus: [0]", "there is no model to serve"),
        ("models: [nosuch]", "it is no exported folder"),
        ("models: [{source: gpt2, weights: nosuch}]", "gpt2: there is no file of weights"),
        ("models: [{source: tiny, batch_sizes: [1, 2]}]", "brings its own batch size"),
        ("models: [{source: tiny, weights: b.safetensors}]", "brings its own batch size"),
        ("models: [gpt2, gpt2]", "two models are named gpt2"),
        ("models: [gpt2, {source: bert_base, dtype: tf32}]", "in fp32 and in tf32 cannot be served side by side"),
        ("models: [gpt2]\npt: 2", "pt=2: 1 devices"),
    ],
)
def test_what_cannot_be_served_is_refused(write: Write, text: str, said: str) -> None:
    with pytest.raises(DeepPlanError, match=said):
        deployment_of(read_deployment_file(write(text)))


words = st.sampled_from([*SETTINGS, "models", "source", "instances", "gpt2", "1,2", "10GiB", "5s", "cuda:0", "nosuch"])
scalars = st.one_of(st.none(), st.booleans(), st.integers(-3, 2**70), st.floats(), words)
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3))


@settings(max_examples=300)
@given(st.dictionaries(words, anything, max_size=4))
def test_whatever_it_says_only_our_errors_are_raised(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, object]
) -> None:
    import yaml

    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump(content))
    try:
        read = read_deployment_file(str(path))
        server_settings_of(read)
        deployment_of(read)
    except DeepPlanError as error:
        assert len(str(error)) < 1500
