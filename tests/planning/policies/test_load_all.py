from deepplan.planning.policies.load_all import load_all
from deepplan.planning.profile import LayerProfile, Profile


def test_everything_with_parameters_is_one_group_on_the_targets_link(small_profile):
    choices = load_all(small_profile(2))
    assert choices.placements == ("load", "load", "dha", "load")
    assert choices.groups == (0, 0, -1, 0) and choices.routes == (0,)


def test_a_model_without_parameters_has_no_group(small_profile):
    choices = load_all(Profile([LayerProfile("relu", "ReLU", 0, 0.0, 1.0, None)], small_profile().links))
    assert choices.placements == ("dha",) and choices.groups == (-1,) and choices.routes == ()
