import random

import pytest

from deepplan.planning.policies.paper import paper, static
from deepplan.planning.profile import LayerProfile, LinkProfile, Profile

LINKS = (LinkProfile(0.01, 10.0),)


def profile_of(*rows):
    """Layers of (size, load, exec, host)."""
    layers = (LayerProfile(f"{i}", "Linear", *row) for i, row in enumerate(rows))
    return Profile(tuple(layers), LINKS)


def published_plan(rows):
    """Which layers are loaded, by the published listing: plain lists, one step after another."""
    loaded = [size > 0 for size, *_ in rows]

    def timeline():
        entries = [(0.0, 0.0, 0.0)]
        for i, (_, load, execute, host) in enumerate(rows):
            ready, run, _ = entries[-1]
            stall = 0.0
            if loaded[i]:
                ready -= load
                if ready < 0:
                    stall = -ready
                    run += stall
                    ready = 0.0
                ready += execute
                run += execute
            else:
                ready += host
                run += host
            entries.append((ready, run, stall))
        return entries

    walk = timeline()
    for t in range(len(rows) + 1):
        stall = walk[t][2]
        if stall <= 0:
            continue
        first = list(range(t))
        first.sort(key=lambda i: (rows[i][3] - rows[i][2], -rows[i][1]))
        for i in first:
            if not loaded[i]:
                continue
            _, load, execute, host = rows[i]
            if host > execute + 1.5 * load:
                break
            if stall < host - execute:
                break
            loaded[i] = False
            stall -= load + (host - execute)
            if stall <= 0:
                walk = timeline()
                break
    return loaded


def test_a_worked_example():
    """The first stall is 4: the embedding, 1 ms slower in place, covers it alone. The next layer is then in time."""
    profile = profile_of((8, 4.0, 1.0, 2.0), (8, 2.0, 3.0, 9.0), (0, 0.0, 1.0, 1.0), (8, 3.0, 1.0, 1.5))
    # All loaded: stalls 4, 1, -, 0. t=1: layer 0 goes (4 - 5 <= 0); now 0, 0, 0 and ready is 2, 3, 4, 2.
    assert paper(profile).placements == ("dha", "load", "dha", "load")


def test_the_walk_goes_on_over_the_new_timeline():
    profile = profile_of((8, 4.0, 1.0, 2.0), (8, 6.0, 3.0, 4.0), (8, 5.0, 1.0, 1.5))
    # t=1: layer 0 in place, then stalls -, 4, 2. t=2: 4 left, layer 1 goes (4 - 7); then no stall: layer 2 is in time.
    assert paper(profile).placements == ("dha", "dha", "load")


def test_a_layer_that_overloads_the_link_stops_its_step():
    assert paper(profile_of((8, 1.0, 1.0, 2.6))).placements == ("load",)  # 2.6 > 1 + 1.5
    assert paper(profile_of((8, 1.5, 1.0, 2.4))).placements == ("dha",)
    assert paper(profile_of((8, 1.0, 1.0, 2.5))).placements == ("load",)  # in place it costs more than the stall


@pytest.mark.parametrize("seed", range(300))
def test_the_plan_is_the_published_one(seed):
    rng = random.Random(seed)
    rows = []
    for _ in range(rng.randrange(1, 40)):
        size = rng.choice([0, 8, 8, 8])
        execute, load = rng.uniform(0, 2), rng.choice([0.5, rng.uniform(0, 3)]) if size else 0.0
        rows.append((size, load, execute, execute + rng.choice([0.0, 0.25, rng.uniform(-0.1, 4)])))
    placements = paper(profile_of(*[(size, load, e, max(host, 0.0)) for size, load, e, host in rows])).placements
    rows = [(size, load, e, max(host, 0.0)) for size, load, e, host in rows]
    assert [placement == "load" for placement in placements] == published_plan(rows)


def test_each_loaded_layer_is_a_group_of_its_own():
    choices = paper(profile_of((8, 1.0, 9.0, 99.0), (8, 1.0, 9.0, 99.0), (0, 0.0, 1.0, None), (8, 1.0, 1.0, 99.0)))
    assert choices.groups == (0, 1, -1, 2) and choices.routes == (0, 0, 0)


def test_what_cannot_be_read_in_place_is_loaded():
    assert paper(profile_of((8, 4.0, 1.0, None), (8, 4.0, 1.0, 1.1))).placements[0] == "load"
    assert static(profile_of((8, 4.0, 1.0, None))).placements == ("load",)


@pytest.mark.parametrize(
    "kind, in_place_ms, placement",
    [
        ("Linear", 2.9, "dha"),
        ("Linear", 3.0, "load"),
        ("BatchNorm2d", 99.0, "dha"),
        ("Embedding", 99.0, "dha"),
        ("LayerNorm", 99.0, "load"),
        ("Embedding", None, "load"),
    ],
)
def test_the_static_plan_goes_by_type_and_by_single_layers(kind, in_place_ms, placement):
    profile = Profile((LayerProfile("a", kind, 8, 2.0, 1.0, in_place_ms),), LINKS)
    assert static(profile).placements == (placement,)
