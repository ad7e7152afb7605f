"""A small attack on study folders; the script's defaults are the large one."""

from scripts import attack_studies


def test_races_mix_nothing(tmp_path):
    assert attack_studies.race(10, tmp_path) == []


def test_damage_is_named_and_nothing_read_wrongly(tmp_path):
    assert attack_studies.damage(15, tmp_path, seed=1) == []
