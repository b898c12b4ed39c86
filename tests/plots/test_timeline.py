"""The picture, read back from what was drawn."""

import dataclasses
import subprocess
import sys

import pytest
from matplotlib.collections import PolyCollection

from deepplan.errors import InvalidInputError
from deepplan.planning.profile import LayerProfile, LinkProfile, Profile
from deepplan.planning.search import search
from deepplan.planning.timeline import Timeline, TimelineLayer
from deepplan.plots.timeline import IN_PLACE, NO_PARAMETERS

MB = 1_000_000
PNG = b"\x89PNG"


@pytest.fixture
def plan():
    layers = (
        LayerProfile("embedding", "Embedding", 40 * MB, 4.0, 0.1, 0.2),
        LayerProfile("first", "Linear", 10 * MB, 1.0, 0.5, 6.0),
        LayerProfile("relu", "ReLU", 0, 0.0, 0.2, None),
        LayerProfile("second", "Linear", 20 * MB, 2.0, 0.7, None),
    )
    links = (LinkProfile(0.01, 10.0), LinkProfile(0.01, 10.0))
    return search(Profile(layers, links, model="tiny", devices=("cuda:0", "cuda:2")))


def lanes(figure):
    """What is drawn in each lane, by its label: lists of (start, end)."""
    (axes,) = figure.axes
    found = {label.get_text(): [] for label in axes.get_yticklabels()}
    names = list(found)
    for collection in axes.collections:
        if isinstance(collection, PolyCollection):
            for path in collection.get_paths():
                (left, bottom), (right, top) = path.vertices.min(axis=0), path.vertices.max(axis=0)
                found[names[round((bottom + top) / 2)]].append((left, right))
    return found


def test_each_link_and_the_execution_have_a_lane(plan):
    drawn = lanes(plan.plot())
    groups = plan.timeline.groups
    assert list(drawn) == ["link cuda:0", "link cuda:2", "execution"]
    for route, name in enumerate(("link cuda:0", "link cuda:2")):
        assert drawn[name] == [pytest.approx((g.start_ms, g.end_ms)) for g in groups if g.route == route]
    layers = [(layer.start_ms, layer.end_ms) for layer in plan.timeline.layers]
    stalls = [(x.start_ms - x.stall_ms, x.start_ms) for x in plan.timeline.layers if x.stall_ms > 0]
    assert stalls and sorted(drawn["execution"]) == [pytest.approx(span) for span in sorted(layers + stalls)]


def test_kinds_of_layers_and_stalls_are_told_apart(plan):
    figure = plan.plot()
    (legend,) = figure.legends
    labels = {text.get_text(): patch for text, patch in zip(legend.get_texts(), legend.get_patches())}
    assert list(labels) == [
        "loaded layer, in its group's colour",
        "read in place (DHA)",
        "no parameters",
        "stall: waiting for weights",
    ]
    colours = [patch.get_facecolor() for patch in labels.values()]
    assert len(set(colours)) == 4 and IN_PLACE != NO_PARAMETERS


def test_the_title_says_what_was_predicted(plan):
    (axes,) = plan.plot().axes
    expected = (
        f"tiny, policy optimal: predicted {plan.predicted_ms:.3f} ms, {plan.timeline.stall_ms:.3f} ms of it stalled"
    )
    assert axes.get_title(loc="left") == expected
    assert axes.get_xlabel() == "ms since the call"


def test_coded_groups_are_marked(plan):
    group = plan.timeline.groups[0]
    coded = dataclasses.replace(group, coded_bytes=7 * MB)
    timeline = dataclasses.replace(plan.timeline, groups=(coded, *plan.timeline.groups[1:]))
    figure = timeline.plot()
    assert "0: 7 MB coded" in [text.get_text() for text in figure.axes[0].texts]
    assert "coded" in [text.get_text() for text in figure.legends[0].get_texts()]
    lane = lanes(figure)[f"link {plan.devices[group.route]}"]
    assert lane.count(pytest.approx((group.start_ms, group.end_ms))) == 2  # the group, and the bar along its edge


def test_a_warm_measured_run_is_one_lane_without_stalls():
    layers = (TimelineLayer("a", "load", -1, 0.0, 1.0, size_bytes=4), TimelineLayer("b", "dha", -1, 1.0, 1.5))
    figure = Timeline(layers, (), 1.6, "measured").plot()
    assert lanes(figure) == {"execution": [(0.0, 1.0), (1.0, 1.5)]}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["resident layer", "no parameters"]


def test_an_empty_timeline_can_be_drawn():
    assert Timeline((), (), 0.0).plot()._repr_png_().startswith(PNG)


@pytest.mark.parametrize(
    "name, start", [("plan.png", PNG), ("plan.svg", b"<?xml"), ("plan.PDF", b"%PDF"), ("plan", PNG)]
)
def test_a_picture_is_saved_in_the_format_of_its_suffix(plan, tmp_path, name, start):
    plan.plot(str(tmp_path / name))
    assert (tmp_path / name).read_bytes().startswith(start)


def test_a_picture_that_cannot_be_saved_is_refused(plan, tmp_path):
    with pytest.raises(InvalidInputError, match=r"\.txt"):
        plan.plot(tmp_path / "plan.txt")
    with pytest.raises(InvalidInputError, match="cannot write"):
        plan.plot(tmp_path / "none" / "plan.png")
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_shows_the_figure_by_itself(plan):
    assert plan.plot()._repr_png_().startswith(PNG)


def test_planning_brings_no_matplotlib_and_no_torch():
    code = "import sys, deepplan.planning.search; assert not {'matplotlib', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
