from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from il7ml.config import RunConfig, apply_override, read_yaml
from il7ml.errors import InputError


def config_file(folder, text):
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_study_is_relative_to_the_config_file_but_an_override_to_the_current_folder(tmp_path):
    path = config_file(tmp_path, "study: trial/study.yaml\nendpoint: infection\n")
    assert RunConfig.from_file(path).study == tmp_path / "trial" / "study.yaml"
    assert RunConfig.from_file(path, ["study=other/study.yaml"]).study == Path("other/study.yaml")


def test_absolute_study_path_stays(tmp_path):
    path = config_file(tmp_path, "study: /data/study.yaml\nendpoint: infection\n")
    assert RunConfig.from_file(path).study == Path("/data/study.yaml")


def test_overrides_win_and_are_read_as_yaml(tmp_path):
    path = config_file(tmp_path, "study: s.yaml\nendpoint: infection\nvalidation: {folds: 5, repeats: 3}\n")
    config = RunConfig.from_file(
        path,
        ["validation.folds=4", "seed=7", "models=[prevalence, logistic]", "features.include=null", "effect.repeats=2"],
    )
    assert (config.validation.folds, config.validation.repeats, config.seed) == (4, 3, 7)
    assert config.models == ("prevalence", "logistic")
    assert config.features.include is None
    assert config.effect.repeats == 2


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("sed: 1", r"run.yaml: unknown key 'sed'. Did you mean 'seed'\?"),
        ("validation: {fold: 3}", r"unknown key 'validation.fold'. Did you mean 'folds'\?"),
        ("seed: many", "key 'seed': input should be a valid integer"),
        ("seed: -1", "key 'seed': input should be greater than or equal to 0"),
        ("models: [prevalence, logistik]", "key 'models.1': input should be 'prevalence', 'lymphocyte'"),
        ("models: [logistic]", "models must contain 'prevalence'"),
        ("tracking: {model_name: a/b}", "key 'tracking.model_name'"),
    ],
)
def test_unusable_keys_and_values_are_named(tmp_path, extra, message):
    path = config_file(tmp_path, f"study: s.yaml\nendpoint: infection\n{extra}\n")
    with pytest.raises(InputError, match=message):
        RunConfig.from_file(path)


def test_missing_key_is_named(tmp_path):
    with pytest.raises(InputError, match=r"key 'study' is missing. Add it."):
        RunConfig.from_file(config_file(tmp_path, "endpoint: infection\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected keys with values, found nothing"),
        (b"- a\n- b\n", "expected keys with values, found list"),
        (b"a: 1\nb: [1\n", r"is not valid YAML \(line 3\)"),
        (b"a: 2020-13-45\n", "is not valid YAML"),
        (b"a: \xff\n", "it is not UTF-8 text"),
    ],
)
def test_unreadable_yaml_is_refused(tmp_path, content, message):
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_yaml(path, "config")


def test_yaml_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"config .*none.yaml cannot be read: No such file"):
        read_yaml(tmp_path / "none.yaml", "config")
    with pytest.raises(InputError, match="Is a directory"):
        read_yaml(tmp_path, "config")


def test_override_makes_the_keys_above_it():
    raw = {}
    apply_override(raw, "tracking.uri=sqlite:///a=b.db")
    assert raw == {"tracking": {"uri": "sqlite:///a=b.db"}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "--set expects key=value"),
        ("=3", "--set expects key=value"),
        ("seed.x=3", "'seed' holds a value, not further keys"),
        ("seed=[1", "the value is not valid YAML"),
        ("seed=2020-13-45", "the value is not valid YAML"),
    ],
)
def test_unusable_override_is_refused(override, message):
    with pytest.raises(InputError, match=message):
        apply_override({"seed": 1}, override)


def test_written_config_reads_back_the_same_and_leaves_workers_out(tmp_path):
    config = RunConfig(study="/data/s.yaml", endpoint="infection", seed=3, workers=2, models=("prevalence", "xgboost"))
    text = config.to_yaml()
    assert "workers" not in yaml.safe_load(text)  # they have no influence on results
    assert RunConfig.from_file(config_file(tmp_path, text)) == config.model_copy(update={"workers": 0})


def test_config_is_frozen():
    config = RunConfig(study="s.yaml", endpoint="infection")
    with pytest.raises(ValidationError):
        config.seed = 5
