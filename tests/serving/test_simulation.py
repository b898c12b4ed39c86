from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from deepplan import search, simulate
from deepplan.errors import InvalidInputError
from deepplan.planning.plan import Plan
from deepplan.planning.profile import LayerProfile, LinkProfile, Profile
from deepplan.serving.simulation import ServedModel, simulate_serving

GB = 1 << 30
MODEL = ServedModel("model", instances=1, device_bytes=GB, warm_ms=(4.0,), cold_ms=((20.0, 12.0),))


@dataclass(frozen=True)
class Workload:
    times_ms: np.ndarray
    instances: np.ndarray
    instance_count: int
    duration_ms: float


def workload(times_ms, instances, instance_count=None):
    times_ms, instances = np.asarray(times_ms, np.float64), np.asarray(instances, np.int32)
    duration_ms = float(times_ms[-1]) + 1 if len(times_ms) else 1.0
    return Workload(times_ms, instances, instance_count or int(max(instances, default=0)) + 1, duration_ms)


def poisson(requests, mean_gap_ms, instance_count, seed=1):
    random = np.random.default_rng(seed)
    times_ms = np.cumsum(random.exponential(mean_gap_ms, requests))
    return workload(times_ms, random.integers(instance_count, size=requests), instance_count)


def test_waiting_times_are_those_of_an_m_d_1_queue():
    utilisation, service_ms = 0.5, MODEL.warm_ms[0]
    arrivals = poisson(200_000, service_ms / utilisation, 1)
    result = simulate_serving([MODEL], arrivals, gpus=1, gpu_memory_bytes=GB)
    expected_ms = utilisation * service_ms / (2 * (1 - utilisation))
    waiting_ms = result.latency_ms[1000:].mean() - service_ms
    assert waiting_ms == pytest.approx(expected_ms, rel=0.03)
    assert result.cold_starts == 1
    assert result.goodput == 1


def test_two_models_that_alternate_and_do_not_fit_together_are_always_cold():
    arrivals = workload(100.0 * np.arange(1000), np.arange(1000) % 2)
    result = simulate_serving([replace(MODEL, instances=2)], arrivals, gpus=1, gpu_memory_bytes=2 * GB - 1)
    assert result.cold_rate == 1
    assert result.evictions == 999
    assert result.p50_ms == result.p99_ms == 20
    both = simulate_serving([replace(MODEL, instances=2)], arrivals, gpus=1, gpu_memory_bytes=2 * GB)
    assert both.cold_starts == 2


def test_cold_starts_use_the_links_they_may():
    arrivals = workload([0.0], [0])
    for most_links, expected_ms in ((1, 20), (2, 12), (4, 12)):
        result = simulate_serving([MODEL], arrivals, gpus=4, gpu_memory_bytes=GB, most_links=most_links)
        assert result.latency_ms[0] == expected_ms


def test_cold_starts_take_longer_while_others_of_the_host_load():
    model = replace(MODEL, instances=4, crowded_ms=(((22.0, 15.0), (26.0,)),))
    arrivals = workload([0.0, 1.0, 2.0, 3.0], [0, 1, 2, 3])
    apart = simulate_serving([model], arrivals, gpus=4, gpu_memory_bytes=GB, gpus_per_host=2)
    assert apart.latency_ms.tolist() == pytest.approx([1 + 0.95 * 22] * 4), "each has a twentieth of it alone"
    shared = simulate_serving([model], arrivals, gpus=4, gpu_memory_bytes=GB)
    # Until one is alone with another and then by itself, all go on as beside two: the third row is that of the second.
    first_ms = 2 + (1 - 1 / 20 - 1 / 22) * 26
    last_ms = 1 / 22 * 22 + (1 - (first_ms + 1.3 - 3) / 26 - 1 / 22) * 20 + first_ms + 1.3
    expected = [first_ms, first_ms + 0.05 * 26 - 1, first_ms + 1.3 + 1 - 2, last_ms - 3]
    assert shared.latency_ms.tolist() == pytest.approx(expected)
    arrivals = workload([0.0, 1.0], [0, 1], 4)
    pairs = simulate_serving([model], arrivals, gpus=4, gpu_memory_bytes=GB, most_links=2)
    both_ms = (1 - 1 / 12) * 15
    assert pairs.latency_ms.tolist() == pytest.approx([1 + both_ms, both_ms + (1 - both_ms / 26) * 20]), (
        "the second finds two links in use and takes one"
    )


def test_the_way_of_an_answer_holds_nobody_up():
    arrivals = workload([0.0, 1.0], [0, 0])
    result = simulate_serving([MODEL], arrivals, gpus=1, gpu_memory_bytes=GB, overhead_ms=0.5)
    assert result.latency_ms.tolist() == [20.5, 23.5]


def test_results_are_the_same_again():
    arrivals = poisson(20_000, 2.0, 50)
    arguments = dict(gpus=4, gpu_memory_bytes=8 * GB, objective_ms=60.0, most_links=2)
    results = [simulate_serving([replace(MODEL, instances=50)], arrivals, **arguments) for _ in range(2)]
    for name in ("latency_ms", "cold", "refused", "gpu"):
        np.testing.assert_array_equal(*(getattr(result, name) for result in results))


def test_under_overload_what_is_not_refused_is_in_time():
    model = replace(MODEL, instances=50, batch_sizes=(1, 4), warm_ms=(4.0, 8.0), cold_ms=((20.0, 12.0), (24.0, 15.0)))
    result = simulate_serving([model], poisson(50_000, 0.7, 50), gpus=4, gpu_memory_bytes=8 * GB, objective_ms=60.0)
    assert 0 < result.refused_rate < 1
    assert result.goodput == pytest.approx(1 - result.refused_rate)
    assert np.nanmax(result.latency_ms) <= 60.0 + 1e-6
    np.testing.assert_array_equal(np.isnan(result.latency_ms), result.refused)


def test_a_result_can_be_read_minute_by_minute():
    arrivals = workload([0.0, 1000.0, 130_000.0], [0, 0, 0])
    minutes = simulate_serving([MODEL], arrivals, gpus=1, gpu_memory_bytes=GB, objective_ms=30.0).per_minute()
    assert minutes.requests.tolist() == [2, 0, 1]
    assert minutes.cold_rate[[0, 2]].tolist() == [0.5, 0]
    assert minutes.goodput[[0, 2]].tolist() == [1, 1]
    assert minutes.p99_ms[2] == 4
    assert math.isnan(minutes.p99_ms[1])


def test_nothing_is_served_without_arrivals():
    result = simulate_serving([MODEL], workload([], []), gpus=1, gpu_memory_bytes=GB)
    assert len(result) == 0
    assert all(math.isnan(x) for x in (result.p99_ms, result.goodput, result.cold_rate, result.refused_rate))


def test_a_model_is_made_of_its_profile_and_plans():
    layers = tuple(LayerProfile(f"layer{i}", "Linear", 10_000_000, 1.0, 0.5, 3.0) for i in range(4))
    profile = Profile(layers, (LinkProfile(latency_ms=0.01, bandwidth_gbps=10.0),) * 2, warm_ms=2.0)
    plans = [search(profile, devices=range(links)) for links in (1, 2)]
    model = ServedModel.of(profile, plans, instances=3, name="four")
    assert model.device_bytes == 40_000_000
    assert model.warm_ms == (2.0,)
    assert model.cold_ms == (tuple(plan.predicted_ms for plan in plans),)
    assert model.crowded_ms == ((model.cold_ms[0][:1],),), "of two links the other is left, and costs nothing here"
    with pytest.raises(InvalidInputError, match="over 2 links; give the profile's model at batch 1 over 1"):
        ServedModel.of(profile, plans[::-1], instances=3)
    with pytest.raises(InvalidInputError, match="no warm_ms"):
        ServedModel.of(replace(profile, warm_ms=None), plans, instances=3)
    with pytest.raises(InvalidInputError, match="plans is empty"):
        ServedModel.of(profile, [], instances=3)


def test_what_others_take_of_host_memory_is_predicted():
    layers = tuple(LayerProfile(f"layer{i}", "Linear", 10_000_000, 1.0, 0.5, None) for i in range(4))
    links = (LinkProfile(0.01, 5.0),) * 3
    fewer = ((LinkProfile(0.01, 10.0),), (LinkProfile(0.01, 8.0),) * 2)
    profile = Profile(layers, links, warm_ms=2.0, fewer_links=fewer)
    plans = [search(profile, devices=range(count)) for count in (1, 2)]
    (rows,) = ServedModel.of(profile, plans, instances=1).crowded_ms
    assert [len(row) for row in rows] == [2, 1], "over links that the others leave"
    slowed = [simulate(profile, plans[0], beside).total_ms for beside in (0, 1, 2)]
    assert slowed[0] < rows[0][0] == slowed[1] < rows[1][0] == slowed[2]
    assert rows[0][1] == simulate(profile, plans[1], 1).total_ms > plans[1].predicted_ms


def test_large_tables_that_are_read_in_place_stay_in_host_memory():
    sizes = {"large": 20_000_000, "small": 8 << 20, "loaded": 20_000_000}
    table = {name: LayerProfile(name, "Embedding", size, 1.0, 0.1, 0.2) for name, size in sizes.items()}
    matrix = LayerProfile("matrix", "Linear", 30_000_000, 1.0, 0.1, 0.3)
    profile = Profile((*table.values(), matrix), (LinkProfile(0.01, 10.0),), warm_ms=1.0)
    plan = Plan.from_choices(profile, ["dha", "dha", "load", "dha"], [-1, -1, 0, -1], [0])
    model = ServedModel.of(profile, [plan], instances=1)
    assert model.device_bytes == (8 << 20) + 20_000_000 + 30_000_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"instances": 0}, "instances is 0"),
        ({"device_bytes": 0}, "device_bytes is 0"),
        ({"batch_sizes": (2,)}, r"batch_sizes is \[2\]; it must be ascending, from 1"),
        ({"batch_sizes": (1, 1)}, r"batch_sizes is \[1, 1\]"),
        ({"batch_sizes": (1, 2)}, "1 warm_ms and 1 cold_ms for batch_sizes"),
        ({"warm_ms": (0.0,)}, r"warm_ms\[0\] is 0"),
        ({"warm_ms": (math.nan,)}, r"warm_ms\[0\] is nan"),
        ({"cold_ms": ((),)}, "cold_ms of batch size 1 is empty"),
        ({"crowded_ms": ((), ())}, "2 crowded_ms for batch_sizes"),
    ],
)
def test_models_that_cannot_be_are_refused(changes, message):
    with pytest.raises(InvalidInputError, match=message):
        replace(MODEL, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpus": 0}, "gpus is 0"),
        ({"gpu_memory_bytes": GB - 1}, "model takes 1073741824 bytes and gpu_memory_bytes is 1073741823"),
        ({"objective_ms": 0.0}, "objective_ms is 0"),
        ({"objective_ms": math.nan}, "objective_ms is nan"),
        ({"most_links": 0}, "most_links is 0"),
        ({"gpus_per_host": 0}, "gpus_per_host is 0"),
        ({"gpus": 4, "gpus_per_host": 3, "most_links": 2}, "gpus_per_host is 3: give a multiple of most_links, 2"),
        ({"overhead_ms": -1.0}, "overhead_ms is -1"),
    ],
)
def test_numbers_out_of_range_are_refused(changes, message):
    with pytest.raises(InvalidInputError, match=message):
        simulate_serving([MODEL], workload([0.0], [0]), **{"gpus": 1, "gpu_memory_bytes": GB, **changes})


@pytest.mark.parametrize(
    ("arrivals", "message"),
    [
        (workload([0.0], [1]), "arrivals are of 2 instances and the models have 1"),
        (workload([1.0, 0.0], [0, 0]), "arrival 1 is at 0.0+ ms: give finite times, ascending"),
        (workload([0.0, 1.0], [0]), "2 arrivals of 1 instances"),
        (replace(workload([0.0], [0]), instances=np.array([0])), "instances is .* a one-dimensional array of int32"),
    ],
)
def test_arrivals_that_do_not_fit_are_refused(arrivals, message):
    with pytest.raises(InvalidInputError, match=message):
        simulate_serving([MODEL], arrivals, gpus=1, gpu_memory_bytes=GB)
