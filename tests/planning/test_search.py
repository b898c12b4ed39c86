import dataclasses

import pytest

from deepplan.errors import InvalidInputError, UnknownNameError
from deepplan.planning.plan import Plan
from deepplan.planning.search import POLICIES, search
from deepplan.planning.simulator import simulate


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("links", [1, 3])
def test_every_policy_makes_a_plan_that_holds_what_it_predicts(policy, links, small_profile, tmp_path):
    profile = small_profile(links, model="tiny", call_overhead_ms=0.5)
    plan = search(profile, policy)
    assert plan.policy == plan.timeline.policy == policy and plan.model == "tiny"
    assert simulate(profile, plan).total_ms == plan.predicted_ms
    assert 0 <= plan.gap < 1
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan


def test_the_default_is_optimal_and_proven_for_a_small_profile(small_profile):
    plan = search(small_profile(2))
    assert plan.policy == "optimal" and plan.gap == 0


@pytest.mark.parametrize("policy", POLICIES)
def test_without_coding_a_target_that_decodes_is_like_one_that_does_not(policy, small_profile):
    plain = small_profile(2)
    layers = [dataclasses.replace(layer, coded_bytes=layer.size_bytes // 2) for layer in plain.layers]
    profile = dataclasses.replace(plain, layers=layers, decode_gbps=1000.0)
    assert search(profile, policy, coding=False) == search(plain, policy)
    plan = search(profile, policy)
    assert any(plan.coded) == (policy == "optimal")
    assert simulate(profile, plan) == plan.timeline
    assert plan.gap >= 0 if policy == "optimal" else plan.gap > search(plain, policy).gap


def test_an_unknown_policy_is_refused_with_the_known_ones(small_profile):
    with pytest.raises(UnknownNameError, match=r"'fastest'.*optimal, paper, static, pipeswitch, load_all"):
        search(small_profile(), "fastest")


@pytest.mark.parametrize("devices, links", [([0], (0,)), (["cuda:0"], (0,)), (["cuda:0", 2], (0, 1)), (None, (0, 1))])
def test_devices_restrict_a_search_by_name_or_number(devices, links, small_profile):
    profile = small_profile(2, devices=("cuda:0", "cuda:2"))
    plan = search(profile, devices=devices)
    assert plan.links == links and plan.devices == tuple(profile.devices[link] for link in links)
    assert simulate(profile, plan) == plan.timeline


def test_devices_of_a_profile_without_names_are_its_links(small_profile):
    assert search(small_profile(3), devices=[0, 2]).links == (0, 2)


@pytest.mark.parametrize("devices", [[2], [2, 0], ["cuda:2"], ["cuda:2", "cuda:0"]])
def test_a_helpers_link_is_not_taken_for_a_targets(devices, small_profile):
    with pytest.raises(InvalidInputError, match=r"must be the profile's target, cuda:0, not cuda:2"):
        search(small_profile(2, devices=("cuda:0", "cuda:2")), devices=devices)


def test_the_target_of_a_profile_without_names_is_its_first_link(small_profile):
    with pytest.raises(InvalidInputError, match=r"must be the profile's target, link 0, not link 1"):
        search(small_profile(3), devices=[1, 0])


@pytest.mark.parametrize("devices", [[1], ["cuda:1"], [True], [0, 0], [], [-1], ["0"]])
def test_devices_that_the_profile_has_not_are_refused(devices, small_profile):
    with pytest.raises(InvalidInputError, match=r"device|links"):
        search(small_profile(2, devices=("cuda:0", "cuda:2")), devices=devices)
