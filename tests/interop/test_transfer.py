"""What of a source goes into a run's parameters, row by row, and what is refused."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from bert_jax.config import TokenizerConfig
from bert_jax.config.head import HeadConfig
from bert_jax.config.model import ModelConfig
from bert_jax.config.options import replaced, value_at
from bert_jax.config.presets import PRESETS
from bert_jax.errors import UserError
from bert_jax.interop import names
from bert_jax.interop.transfer import adapt, check_architecture
from bert_jax.models import bert
from bert_jax.models.parameters import flatten, nest
from bert_jax.text import tokenizer as tokenizers
from bert_jax.text.vocabulary import count_chunks
from tests.configs import changed
from tests.models.variants import VARIANTS

TOKEN, POSITION, TYPE, BIAS = (
    "bert/embeddings/token", "bert/embeddings/position", "bert/embeddings/type", "mlm_head/bias",
)  # fmt: skip


def tokenizer(*texts, **fields):
    return tokenizers.train(count_chunks(list(texts)), TokenizerConfig(**fields))


CATS = tokenizer("a cat sat on a mat", "a dog", vocab_size=41)
DOGS = tokenizer("a dog sat on a log", "a frog", vocab_size=37)
BYTES = tokenizer("a dog sat on a log", kind="bpe", vocab_size=280)

CONFIG = ModelConfig(
    vocab_size=41, hidden_size=12, num_layers=2, num_heads=3, mlp_size=20, max_positions=9, type_vocab_size=2
)


def make(config, seed, without=()):
    """Parameters of which no two elements are alike, with all heads but `without`."""
    rng = np.random.default_rng(seed)
    shapes = {path: e.our_shape for e in names.table(config) for path in e.ours if e.head not in without}
    return nest({path: rng.standard_normal(shape).astype(np.float32) for path, shape in shapes.items()})


PARAMS = make(CONFIG, 0)


def run(*, config=CONFIG, params=PARAMS, source_tokenizer=CATS, to_tokenizer=CATS, without=(), **fields):
    """(source, fresh, made, report), the first three flat, of a run whose config has these fields besides."""
    to = changed(config, **fields)
    fresh = make(to, 1, without)
    made, report = adapt(
        params, config, source_tokenizer, to=to, to_tokenizer=to_tokenizer, fresh=fresh, place="SOURCE"
    )
    source, fresh, made = flatten(params), flatten(fresh), flatten(made)
    assert {path: array.shape for path, array in made.items()} == {p: a.shape for p, a in fresh.items()}
    assert {array.dtype for array in made.values()} == {np.dtype(np.float32)}
    return source, fresh, made, report


def assert_taken(source, made, but=()):
    for path in source.keys() & made.keys() - set(but):
        np.testing.assert_array_equal(made[path], source[path], err_msg=path)


def refusal(**arguments):
    with pytest.raises(UserError) as caught:
        run(**arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_equal_model_is_taken_whole():
    source, _, made, report = run(dropout_rate=0.3, dtype="bfloat16", remat="full", preset="bert-tiny")
    assert_taken(source, made)
    assert report.tensors == len(source)
    assert report.parameters == sum(array.size for array in source.values())
    assert (report.resized, report.fresh, report.left) == ((), {}, {})


def test_the_source_is_not_changed():
    before = {path: array.copy() for path, array in flatten(PARAMS).items()}
    _, _, made, _ = run(max_positions=20)
    made[POSITION][:] = 0
    assert_taken(before, flatten(PARAMS))


@pytest.mark.parametrize("to", [DOGS, BYTES])
def test_rows_follow_the_tokens_and_special_tokens_their_role(to):
    source, fresh, made, report = run(to_tokenizer=to, vocab_size=to.vocab_size)
    theirs, common = CATS.backend.get_vocab(), 0
    roles = {to.names[role]: CATS.names[role] for role in ("pad", "unk", "cls", "sep", "mask")}
    for token, row in to.backend.get_vocab().items():
        origin = theirs.get(roles.get(token, token))
        common += origin is not None
        for path in (TOKEN, BIAS):
            expected = fresh[path][row] if origin is None else source[path][origin]
            np.testing.assert_array_equal(made[path][row], expected, err_msg=f"{path} {token}")
    assert 5 < common < to.vocab_size
    counts = f"{common} taken by token, {to.vocab_size - common} fresh"
    assert report.resized == tuple(f"{path}: 41 -> {to.vocab_size} rows, {counts}" for path in (TOKEN, BIAS))
    assert_taken(source, made, but=(TOKEN, BIAS))
    assert report.parameters == sum(a.size for a in source.values()) + (common - 41) * 13


def test_rows_beyond_the_tokenizer_come_along_only_with_the_same_vocabulary():
    """A table padded to 48 rows."""
    padded = dataclasses.replace(CONFIG, vocab_size=48)
    source, _, made, report = run(config=padded, params=make(padded, 0))
    assert_taken(source, made)
    assert report.resized == ()
    source, _, made, report = run(config=padded, params=make(padded, 0), vocab_size=41)
    np.testing.assert_array_equal(made[TOKEN], source[TOKEN][:41])
    assert report.resized[0] == f"{TOKEN}: 48 -> 41 rows, 41 taken by token"
    source, fresh, made, _ = run(vocab_size=48)
    np.testing.assert_array_equal(made[TOKEN], np.concatenate([source[TOKEN], fresh[TOKEN][41:]]))


def test_without_a_tokenizer_rows_follow_their_ids():
    source, _, made, report = run(source_tokenizer=None)
    assert_taken(source, made)
    assert report.resized == (f"{TOKEN}: rows taken by id, for SOURCE has no tokenizer",)
    message = refusal(source_tokenizer=None, to_tokenizer=DOGS, vocab_size=37)
    assert "SOURCE: no tokenizer in it, so its vocab_size=41 must equal the run's 37: put its" in message


def test_a_tokenizer_larger_than_its_embedding_is_refused():
    small = dataclasses.replace(CONFIG, vocab_size=40)
    message = refusal(config=small, params=make(small, 0))
    assert "SOURCE: its tokenizer has 41 entries, its model vocab_size=40" in message


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"max_positions": 4}, "9 -> 4 rows, 4 taken"),
        ({"max_positions": 20}, "9 -> 20 rows, 9 taken, 11 repeated"),
        ({"max_positions": 9, "position_offset": 2}, "9 -> 11 rows, 9 taken, 2 fresh"),
        ({"max_positions": 20, "position_offset": 2}, "9 -> 22 rows, 9 taken, 11 repeated, 2 fresh"),
    ],
)
def test_positions_are_cut_or_repeated(fields, line):
    source, fresh, made, report = run(**fields)
    offset = fields.get("position_offset", 0)
    for position in range(fields["max_positions"]):
        np.testing.assert_array_equal(made[POSITION][offset + position], source[POSITION][position % 9])
    np.testing.assert_array_equal(made[POSITION][:offset], fresh[POSITION][:offset])
    assert report.resized == (f"{POSITION}: {line}",)
    assert_taken(source, made, but=(POSITION,))


def test_positions_without_the_rows_before_them():
    """RoBERTa's table for a run that counts rows from 0, and one that counts from 1."""
    offset = dataclasses.replace(CONFIG, position_offset=2)
    source, _, made, report = run(config=offset, params=make(offset, 0), position_offset=0)
    np.testing.assert_array_equal(made[POSITION], source[POSITION][2:])
    assert report.resized == (f"{POSITION}: 11 -> 9 rows, 9 taken",)
    source, _, made, _ = run(config=offset, params=make(offset, 0), position_offset=1)
    np.testing.assert_array_equal(made[POSITION], source[POSITION][1:])


@pytest.mark.parametrize("rows", [0, 1, 2, 4])
@pytest.mark.parametrize("to_rows", [0, 1, 2, 4])
def test_segment_types(rows, to_rows):
    config = dataclasses.replace(CONFIG, type_vocab_size=rows)
    source, fresh, made, report = run(config=config, params=make(config, 0), type_vocab_size=to_rows)
    if to_rows:
        expected = fresh[TYPE].copy()
        if rows:
            expected[: min(rows, to_rows)] = source[TYPE][: min(rows, to_rows)]
        np.testing.assert_array_equal(made[TYPE], expected)
    assert bool(report.resized) == (rows != to_rows and 0 not in (rows, to_rows))
    assert report.fresh == ({"bert/embeddings": (TYPE,)} if to_rows and not rows else {})
    assert report.left == ({"bert/embeddings": (TYPE,)} if rows and not to_rows else {})


def test_heads_that_one_side_lacks():
    headless = make(CONFIG, 0, without=names.HEADS)
    source, fresh, made, report = run(params=headless)
    assert list(report.fresh) == ["bert/pooler", "mlm_head", "pair_head"]
    np.testing.assert_array_equal(made["mlm_head/dense/kernel"], fresh["mlm_head/dense/kernel"])
    assert_taken(source, made)
    assert "fresh: mlm_head (5 tensors)" in report.lines()
    _, _, made, report = run(pooler="none")
    assert report.left == {
        "bert/pooler": ("bert/pooler/dense/bias", "bert/pooler/dense/kernel"),
        "pair_head": ("pair_head/dense/bias", "pair_head/dense/kernel"),
    }
    assert BIAS in made and "left: pair_head (2 tensors)" in report.lines()


TAGS = HeadConfig(kind="tagging", labels=("O", "B"))


@pytest.mark.parametrize(
    ("theirs", "ours", "taken"),
    [
        (TAGS, TAGS, True),
        (TAGS, dataclasses.replace(TAGS, dropout_rate=0.3), True),
        (TAGS, dataclasses.replace(TAGS, labels=("B", "O")), False),
        (TAGS, dataclasses.replace(TAGS, labels=("O", "B", "I")), False),
        (TAGS, HeadConfig(kind="span"), False),
        (TAGS, HeadConfig(), False),
        (HeadConfig(), TAGS, False),
    ],
)
def test_a_task_head_goes_to_the_same_task_alone(theirs, ours, taken):
    """Another task's is named as left, also where the shapes are equal; pretraining has no place for any."""
    config = dataclasses.replace(CONFIG, head=theirs)
    source, fresh, made, report = run(config=config, params=make(config, 0), head=ours)
    path = "task_head/output/kernel"
    assert ("task_head" in report.left) == (path in source and not taken)
    assert ("task_head" in report.fresh) == (path in fresh and not taken)
    if path in made:
        np.testing.assert_array_equal(made[path], (source if taken else fresh)[path])
    assert_taken(source, made, but=() if taken else (path, "task_head/output/bias"))
    assert report.tensors == len(source.keys() & made.keys()) - 2 * (
        path in source.keys() & made.keys() and not taken
    )
    if path in source and not taken:
        assert "left: task_head (2 tensors)" in report.lines()


def test_a_deberta_without_its_decoder_gets_fresh_positions():
    """As Hugging Face ships it."""
    sizes = {"vocab_size": 41, "hidden_size": 12, "num_layers": 2, "num_heads": 3, "mlp_size": 20}
    deberta = dataclasses.replace(PRESETS["deberta-base"], **sizes, max_positions=9)
    shipped = changed(deberta, relative__mask_decoder=False, relative__span=8)
    source, fresh, made, report = run(config=shipped, params=make(shipped, 0), relative__mask_decoder=True)
    assert report.fresh == {"bert/embeddings": (POSITION,)}
    np.testing.assert_array_equal(made[POSITION], fresh[POSITION])
    assert_taken(source, made)
    other = changed(shipped, relative__span=512)
    with pytest.raises(UserError, match=r"^config.model.relative.span=8 must be 512 as in X: set --config"):
        check_architecture(other, to=shipped, place="X")


def test_another_architecture_is_refused_with_every_difference_and_the_flags_that_mend_it():
    source = dataclasses.replace(PRESETS["bert-tiny"], activation="gelu_tanh", vocab_size=41)
    ours = PRESETS["bert-mini"]
    with pytest.raises(UserError) as caught:
        check_architecture(source, to=ours, place="runs/tiny")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(
        "config.model.hidden_size=256 must be 128, config.model.num_layers=4 must be 2,"
        " config.model.num_heads=4 must be 2, config.model.mlp_size=1024 must be 512,"
        " config.model.activation=gelu must be gelu_tanh as in runs/tiny: set --config.model.hidden_size=128 "
    )
    flags = [word.removeprefix("--config.model.").split("=") for word in message.split("set ")[1].split()]
    mended = dataclasses.replace(ours, **{name: type(getattr(ours, name))(value) for name, value in flags})
    check_architecture(source, to=mended, place="runs/tiny")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"relative__span": 8, "relative__key_bias": False}, {}),  # of attention that neither has
        ({"sharing": "none", "groups": 2}, {"groups": 1}),
        ({"pooler": "gelu"}, {"pooler": "none"}),
        ({"family": "roberta", "initializer_range": 0.1, "layers": "scan"}, {}),
    ],
)
def test_what_does_not_change_the_function_may_differ(theirs, ours):
    config, to = changed(CONFIG, **theirs), changed(CONFIG, **ours)
    check_architecture(config, to=to, place="SOURCE")


@pytest.mark.parametrize(
    ("field", "value"), [("pooler", "gelu"), ("norm.eps", 1e-5), ("embedding_size", 6), ("groups", 2)]
)
def test_what_changes_the_function_may_not(field, value):
    config = dataclasses.replace(CONFIG, sharing="all") if field == "groups" else CONFIG
    with pytest.raises(
        UserError, match=f"config.model.{field}={value} must be {value_at(config, field)} as in"
    ):
        check_architecture(config, to=replaced(config, {field: value}), place="SOURCE")


def test_a_head_that_begins_as_the_mlm_head_takes_its_start():
    """ModernBERT's heads for tasks: dense layer and norm are the pretrained ones, the output layer is fresh."""
    config = VARIANTS["modernbert"]
    head = HeadConfig(kind="tagging", labels=("a", "b"), hidden="transform")
    to = dataclasses.replace(config, head=head)
    params = bert.init_params(config, jax.random.key(0))
    fresh = jax.device_get(bert.init_params(to, jax.random.key(1), ()))
    made, report = adapt(params, config, None, to=to, to_tokenizer=None, fresh=fresh, place="SOURCE")
    np.testing.assert_array_equal(made["task_head"]["dense"]["kernel"], params["mlm_head"]["dense"]["kernel"])
    np.testing.assert_array_equal(
        made["task_head"]["norm"]["scale"], params["mlm_head"]["layer_norm"]["scale"]
    )
    assert report.fresh == {"task_head": ("task_head/output/bias", "task_head/output/kernel")}
    assert report.left == {"mlm_head": ("mlm_head/bias",)}
    # Of a model that is fine-tuned to the same task its own head is taken.
    again, report = adapt(made, to, None, to=to, to_tokenizer=None, fresh=fresh, place="SOURCE")
    assert report.fresh == {}
    jax.tree.map(np.testing.assert_array_equal, again, made)


def test_parameters_that_are_not_their_configs_are_refused():
    wider = dataclasses.replace(CONFIG, mlp_size=24)
    assert "has shape (20,), the run's is (24,)" in refusal(config=wider)


def test_the_report_is_json_and_names_what_was_not_read():
    *_, report = run(params=make(CONFIG, 0, without=("mlm_head",)), max_positions=4, without=("pair_head",))
    report = dataclasses.replace(report, unread=("classifier.bias", "classifier.weight"))
    assert json.loads(json.dumps(report.to_dict())) == {
        "taken": {"tensors": report.tensors, "parameters": report.parameters},
        "grown": [],
        "resized": [f"{POSITION}: 9 -> 4 rows, 4 taken"],
        "fresh": {"mlm_head": list(report.fresh["mlm_head"])},
        "left": {"pair_head": ["pair_head/dense/bias", "pair_head/dense/kernel"]},
        "unread": ["classifier.bias", "classifier.weight"],
    }
    assert report.lines()[0] == f"taken: {report.tensors} tensors, {report.parameters:,} parameters"
    assert report.lines()[-1] == "left unread: classifier.bias, classifier.weight"
