import dataclasses
import json

import pytest

from deepplan.errors import InvalidInputError
from deepplan.planning.timeline import Timeline, TimelineGroup, TimelineLayer


@pytest.fixture
def timeline():
    layers = (
        TimelineLayer("a", "load", 0, 1.5, 2.0, 1.5, 100),
        TimelineLayer("b", "dha", -1, 2.0, 2.5, 0.0, 8),
    )
    groups = (TimelineGroup(1, 100, 0.25, 1.5),)
    return Timeline(layers, groups, 2.6, "measured", "tiny", "optimal", ("cuda:0", "cuda:2"))


def test_the_trace_has_a_track_for_execution_and_one_for_each_link(timeline, tmp_path):
    timeline.to_perfetto(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = {(e["name"], e["tid"]): e["args"]["name"] for e in events if e["ph"] == "M"}
    assert names == {
        ("process_name", 0): "tiny optimal measured",
        ("thread_name", 0): "execution",
        ("thread_name", 2): "link cuda:2",
    }


def test_layers_stalls_and_groups_are_events_in_microseconds(timeline, tmp_path):
    timeline.to_perfetto(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    spans = [(e["name"], e["tid"], e["ts"], e["dur"]) for e in events if e["ph"] == "X"]
    assert spans == [
        ("group 0", 2, 250.0, 1250.0),
        ("stall", 0, 0.0, 1500.0),
        ("a", 0, 1500.0, 500.0),
        ("b", 0, 2000.0, 500.0),
    ]
    details = [e["args"] for e in events if e["name"] == "b"]
    assert details == [{"placement": "dha", "group": -1, "bytes": 8}]


def test_coded_groups_are_marked(timeline, tmp_path):
    coded = dataclasses.replace(timeline.groups[0], coded_bytes=70)
    dataclasses.replace(timeline, groups=(coded,)).to_perfetto(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    details = [e["args"] for e in events if e["name"] == "group 0 coded"]
    assert details == [{"group": 0, "bytes": 100, "coded_bytes": 70}]


def test_a_trace_that_cannot_be_written_is_refused(timeline, tmp_path):
    with pytest.raises(InvalidInputError, match="cannot write"):
        timeline.to_perfetto(tmp_path / "none" / "trace.json")
