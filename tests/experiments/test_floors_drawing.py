from __future__ import annotations


def test_a_letter_stands_for_a_machine_and_a_commit() -> None:
    from floors_drawing import _letters, _title

    setups = [
        {"machine": "h200x4", "commit": "a" * 40, "date": "2026-01-01 10:00", "torch": "2.11"},
        {"machine": "h100x2", "commit": "b" * 40, "date": "2026-01-02 10:00", "torch": "2.12"},
        {"machine": "h100x2", "commit": "b" * 40, "date": "2026-01-02 10:20", "torch": "2.12"},
    ]
    letters = _letters(setups)
    assert list(letters.values()) == ["a", "b", "b"]
    title = _title([], setups, letters)
    assert title.endswith("\na: h200x4, commit aaaaaaa, torch 2.11; b: h100x2, commit bbbbbbb, torch 2.12")
    assert _title([], setups[:1], letters).endswith("\nh200x4, commit aaaaaaa, torch 2.11")
