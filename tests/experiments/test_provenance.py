from __future__ import annotations

from deepplan.engine.devices import Devices


def test_a_result_on_host_devices_names_no_gpu() -> None:
    from provenance import provenance

    found = provenance(Devices(("host:0", "host:1")), commit="abc")
    assert found["machine"].startswith("host")
    assert (found["gpus"], found["cuda"], found["driver"], found["commit"]) == ([], None, None, "abc")


def test_only_the_date_may_differ_within_one_table() -> None:
    from provenance import provenance, same_setup

    found = provenance(Devices(("host:0",)), commit="abc")
    assert same_setup(found, {**found, "date": "1999-01-01"})
    assert not same_setup(found, {**found, "commit": "def"})
    assert not same_setup(found, {**found, "driver": "1.0"})
