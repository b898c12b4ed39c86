"""`.pt2` files: read like modules, and refused where loading them would run code."""

import io
import json
import os
import zipfile

import pytest
import torch
from torch import nn
from torch.export import Dim

from deepplan.errors import DocumentError
from deepplan.export.capture import capture
from deepplan.export.pt2 import read_pt2


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("table", torch.arange(4.0), persistent=False)

    def forward(self, x, scale=None):
        y = self.fc(x)[: x.shape[0] // 2 + 1] + self.table
        return {"y": y if scale is None else y * scale, "rows": (x.sum(1),)}


@pytest.fixture(scope="module")
def example():
    torch.manual_seed(0)
    return Model().eval(), torch.randn(4, 4), torch.randn(4)


@pytest.fixture(scope="module")
def saved(example, tmp_path_factory):
    model, x, scale = example
    path = tmp_path_factory.mktemp("pt2") / "model.pt2"
    torch.export.save(torch.export.export(model, (x,), {"scale": scale}), path)
    return path


def assert_equals_eager(captured, interpret, model, *args, **kwargs):
    with torch.no_grad():
        expected = model(*args, **kwargs)
    actual = interpret(captured)(*args, **kwargs)
    assert list(actual) == list(expected)
    torch.testing.assert_close(actual["y"], expected["y"])
    torch.testing.assert_close(actual["rows"], expected["rows"])


def test_a_file_is_read_like_its_module(saved, example, interpret):
    model, x, scale = example
    captured = read_pt2(saved)
    assert_equals_eager(captured, interpret, model, x, scale=scale)
    original = capture(model, (x,), {"scale": scale}).graph
    assert [layer.name for layer in captured.graph.layers] == [layer.name for layer in original.layers]
    assert captured.graph.steps == original.steps


def test_dynamic_shapes_are_fixed_to_the_sample_inputs(example, interpret, tmp_path):
    model, x, _ = example
    program = torch.export.export(model, (x,), dynamic_shapes={"x": {0: 2 * Dim("half", min=1, max=8)}})
    torch.export.save(program, tmp_path / "dynamic.pt2")
    captured = read_pt2(tmp_path / "dynamic.pt2")
    assert captured.graph.inputs[0].shape == (4, 4)
    assert_equals_eager(captured, interpret, model, x)


def test_what_is_no_archive_is_refused(tmp_path, saved):
    for name, content in {"text.pt2": b"hello", "empty.pt2": b"", "half.pt2": saved.read_bytes()[:3000]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DocumentError, match=name):
            read_pt2(tmp_path / name)
    with pytest.raises(DocumentError, match="there is no file"):
        read_pt2(tmp_path / "missing.pt2")


class Run:
    """What a hostile file would do: make a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def rewritten(saved, path, change):
    """A copy of the archive whose entries went through `change(name, content)`; returning None drops one."""
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            name = entry.filename.partition("/")[2]
            content = change(name, source.read(entry))
            if content is not None:
                target.writestr(entry.filename, content)
    return path


def pickled(folder) -> bytes:
    buffer = io.BytesIO()
    torch.save((Run(folder),), buffer)
    return buffer.getvalue()


def in_json(file, edit):
    def change(name, content, folder):
        if name != file:
            return content
        data = json.loads(content)
        edit(data, folder)
        return json.dumps(data).encode()

    return change


def in_program(edit):
    return in_json("models/model.json", edit)


def use_pickle(data, folder):
    next(iter(data["config"].values()))["use_pickle"] = True


def custom_object(data, folder):
    next(iter(data["config"].values()))["path_name"] = "opaque_obj_0"


def code(folder) -> str:
    return f"__import__('os').mkdir('{folder}')"


def guard(data, folder):
    data["guards_code"] = [code(folder)]


def guard_by_attribute(data, folder):
    data["guards_code"] = ["L['x'].size.__globals__['os'].system('true') == 0"]


def expression(data, folder):
    size = next(iter(data["graph_module"]["graph"]["tensor_values"].values()))["sizes"]
    size[0] = {"as_expr": {"expr_str": code(folder), "hint": {"as_int": 4}}}


def expression_behind_blanks(data, folder):
    """More than any check would care to parse, then the code."""
    size = next(iter(data["graph_module"]["graph"]["tensor_values"].values()))["sizes"]
    size[0] = {"as_expr": {"expr_str": "4" + " " * 2100 + f"+ 0 * {code(folder)}", "hint": {"as_int": 4}}}


def guard_behind_blanks(data, folder):
    data["guards_code"] = ["4" + " " * 2100 + f"+ 0 * {code(folder)}"]


def range_behind_blanks(data, folder):
    data["range_constraints"] = {"4" + " " * 2100 + f"+ 0 * {code(folder)}": {"min_val": 0, "max_val": 1}}


def expression_in_metadata(data, folder):
    data["graph_module"]["graph"]["tensor_values"]["metadata"] = {
        "sizes": [{"as_expr": {"expr_str": code(folder), "hint": None}}]
    }


def target(data, folder):
    data["graph_module"]["graph"]["nodes"][0]["target"] = "torch.hub.load"


def foreign_operator(data, folder):
    data["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.debugprims.load_tensor.default"


def unchecked_operator(data, folder):
    data["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.aten._sparse_coo_tensor_unsafe.default"


def disguised_target(data, folder):
    data["graph_module"]["graph"]["nodes"][0]["target"] = "torchvision.hub.load"


def input_name(data, folder):
    text = json.dumps(data).replace('"x"', json.dumps(f"x={code(folder)}"))
    data.update(json.loads(text))


def argument_name(data, folder):
    data["graph_module"]["module_call_graph"][0]["signature"]["forward_arg_names"] = [f"x={code(folder)}", "scale"]


def nesting(data, folder):
    signature = data["graph_module"]["module_call_graph"][0]["signature"]
    signature["in_spec"] = signature["in_spec"].replace("scale", f"scale={code(folder)}".replace("'", "`"))


def nesting_type(data, folder):
    signature = data["graph_module"]["module_call_graph"][0]["signature"]
    signature["out_spec"] = signature["out_spec"].replace("builtins.dict", "collections.defaultdict")


HOSTILE = {
    "a pickled weight": in_json("data/weights/model_weights_config.json", use_pickle),
    "a custom object": in_json("data/constants/model_constants_config.json", custom_object),
    "sample inputs": lambda name, content, folder: (
        pickled(folder) if name.startswith("data/sample_inputs") else content
    ),
    "a guard": in_program(guard),
    "a guard by attributes": in_program(guard_by_attribute),
    "an expression": in_program(expression),
    "an expression behind blanks": in_program(expression_behind_blanks),
    "an operator of another library": in_program(foreign_operator),
    "an unchecked operator": in_program(unchecked_operator),
    "a guard behind blanks": in_program(guard_behind_blanks),
    "a range behind blanks": in_program(range_behind_blanks),
    "an expression among metadata": in_program(expression_in_metadata),
    "a target": in_program(target),
    "a disguised target": in_program(disguised_target),
    "the name of an input": in_program(input_name),
    "the name of an argument": in_program(argument_name),
    "a nesting": in_program(nesting),
    "a nesting's class": in_program(nesting_type),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_file_that_would_run_code_is_refused(change, saved, tmp_path):
    folder = str(tmp_path / "ran")
    path = rewritten(saved, tmp_path / "model.pt2", lambda name, content: change(name, content, folder))
    with pytest.raises(DocumentError, match="trust=True"):
        read_pt2(path)
    assert not os.path.exists(folder)


def test_the_crafted_sample_inputs_do_run_where_the_file_is_trusted(saved, tmp_path):
    """So the test above would notice if the check were gone."""
    folder = str(tmp_path / "ran")
    change = HOSTILE["sample inputs"]
    path = rewritten(saved, tmp_path / "model.pt2", lambda name, content: change(name, content, folder))
    with pytest.raises(DocumentError):
        read_pt2(path, trust=True)
    assert os.path.exists(folder)


def test_compiled_code_is_refused(saved, tmp_path):
    path = rewritten(saved, tmp_path / "model.pt2", lambda name, content: content)
    with zipfile.ZipFile(path, "a") as archive:
        prefix = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{prefix}/data/aotinductor/model/model.so", b"\x7fELF")
    with pytest.raises(DocumentError, match="compiled code"):
        read_pt2(path)


def test_a_rewritten_but_harmless_file_is_read(saved, tmp_path):
    assert read_pt2(rewritten(saved, tmp_path / "model.pt2", lambda name, content: content)).graph.layers
