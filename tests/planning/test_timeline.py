import pytest

from deepplan.errors import InvalidInputError
from deepplan.planning.timeline import Timeline, TimelineGroup, TimelineLayer


def test_a_measured_timeline_is_made_by_hand():
    layers = (TimelineLayer("a", "load", 0, 1.5, 2.0, 1.5), TimelineLayer("b", "dha", -1, 2.0, 2.5))
    timeline = Timeline(layers, (TimelineGroup(0, 100, 0.0, 1.5),), total_ms=2.6, kind="measured")
    assert timeline.stall_ms == 1.5


def test_nothing_ends_before_it_starts():
    with pytest.raises(InvalidInputError, match="end_ms"):
        TimelineLayer("a", "load", 0, 2.0, 1.0)
    with pytest.raises(InvalidInputError, match="end_ms"):
        TimelineGroup(0, 100, 2.0, 1.0)


def test_groups_and_devices_must_be_there():
    with pytest.raises(InvalidInputError, match=r"layers\[0\]\.group is 1"):
        Timeline((TimelineLayer("a", "load", 1, 1.0, 2.0),), (TimelineGroup(0, 1, 0.0, 1.0),), 2.0)
    with pytest.raises(InvalidInputError, match="devices"):
        Timeline((), (TimelineGroup(1, 1, 0.0, 1.0),), 2.0, devices=("cuda:0",))
    with pytest.raises(InvalidInputError, match="kind"):
        Timeline((), (), 2.0, kind="dreamt")
