"""Tagging: entities and classes of words, learnt in packed windows, scored whole, and the same from every door."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax import api
from bert_jax import config as configs
from bert_jax.config import FinetuneConfig
from bert_jax.errors import ConfigError, UserError
from bert_jax.interop.save import save_hf
from bert_jax.models.parameters import flatten
from bert_jax.scoring.entities import convert, entities, entity_scores
from bert_jax.tasks.choose import select_of
from bert_jax.tasks.evaluate import evaluate
from bert_jax.tasks.finetune import finetune, open_task
from bert_jax.tasks.seeds import best_scores
from bert_jax.training.metrics import read_metrics
from bert_jax.training.trainer import Trainer
from tests.tasks.runs import resolved, task_of
from tests.tiny_models import save_tiny

NAMES = {"ann": ["B-PER"], "bob lee": ["B-PER", "I-PER"], "oslo": ["B-LOC"], "new york": ["B-LOC", "I-LOC"]}
OTHERS = ["the", "a", "in", "met", "saw", "and", ".", "new"]
WORDS = [*" ".join(NAMES).split(), *OTHERS[:-1], "##s"]


def sentences(count, seed, longest=12):
    """(words, tags) of up to `longest` parts, of which two in five are names; a word may have two tokens."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        words, tags = [], []
        for _ in range(rng.integers(1, longest)):
            if rng.random() < 0.4:
                name = str(rng.choice(list(NAMES)))
                words += name.split()
                tags += NAMES[name]
            else:
                words.append(str(rng.choice(OTHERS)) + "s" * int(rng.integers(2)))
                tags.append("O")
        yield words, tags


def write_conll(path, rows):
    path.write_text("\n".join("".join(f"{w}\t{t}\n" for w, t in zip(*row, strict=True)) for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a model, and train.conll and dev.conll, in which some sentences are longer than a window."""
    folder = tmp_path_factory.mktemp("made")
    save_tiny(folder / "model", WORDS, num_layers=2)
    write_conll(folder / "train.conll", sentences(300, 0))
    write_conll(folder / "dev.conll", [*sentences(60, 1), *sentences(20, 2, longest=50)])
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_JAX_DATA", str(tmp_path / "data"))


def config_of(made, **values):
    files = {"train": str(made / "train.conll"), "eval": str(made / "dev.conll")}
    groups = {
        "task": {"kind": "tagging", "max_length": 16, **files},
        "train": {"batch_size": 24, "epochs": 4.0},
        "optim": {"learning_rate": 3e-3},
        "model": {"head_dropout_rate": 0.0},
    }
    return resolved(groups, values)


def one_batch(task):
    host = Trainer.of(task, task.config).host()
    batch = next(task.batches("train", task.phases[0], host).iterate(0, 1))
    return {name: jnp.asarray(values) for name, values in batch.items()}


def loss_and_gradient(task, batch):
    params, objective = task.init(jax.random.key(1)), task.objective

    def loss(params):
        return objective.loss(params, {}, batch, None, objective.weights(batch))[0]

    return jax.jit(jax.value_and_grad(loss))(params)


def test_packed_windows_have_the_loss_and_gradient_of_windows_alone(made, tmp_path):
    packed = task_of(config_of(made), made, tmp_path)
    alone = task_of(config_of(made, task__batching="pad"), made, tmp_path)
    assert packed.data.train.units > 300
    rows, single = one_batch(packed), one_batch(alone)
    assert len(rows["tokens_BL"]) < len(single["tokens_BL"]) == 24
    assert sorted(rows["words_BL"][rows["words_BL"] >= 0]) == sorted(
        single["words_BL"][single["words_BL"] >= 0]
    )
    (loss, gradient), (loss_alone, gradient_alone) = (
        loss_and_gradient(task, batch) for task, batch in ((packed, rows), (alone, single))
    )
    assert float(loss) == pytest.approx(float(loss_alone), rel=1e-5)
    for path, leaf in flatten(gradient).items():
        assert np.allclose(leaf, flatten(gradient_alone)[path], rtol=1e-3, atol=1e-6), path


def test_another_stride_is_other_features(made, tmp_path):
    usual, wide, again = (
        task_of(config_of(made, task__stride=stride), made, tmp_path).data.train.units
        for stride in (0, 10, 0)
    )
    assert usual == again < wide


# ---------------------------------------------------------------------------------------------
# A run
# ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BERT_JAX_DATA", str(folder / "data"))
        finetune(config_of(made), folder / "run", init=made / "model")
    return folder / "run"


def test_it_learns_and_evaluate_says_what_the_last_line_says(trained):
    lines = [line for line in read_metrics(trained / "metrics.jsonl") if line["split"] == "eval"]
    last = lines[-1]
    assert last["f1"] > 0.9 > lines[0]["f1"]
    assert last["accuracy"] == pytest.approx(last["token_accuracy"])
    found = evaluate(trained)
    names = ("loss", "f1", "precision", "recall", "accuracy", "f1/LOC", "f1/PER")
    assert {name: found.scores[name] for name in names} == pytest.approx(
        {n: last[n] for n in names}, rel=1e-5
    )
    assert best_scores(trained)["f1"] == max(line["f1"] for line in lines)
    assert found.weights["token_loss"] == sum(len(row.text.split()) for row in found.judged)


def test_what_is_judged_is_what_is_scored(trained, made):
    found = evaluate(trained)
    assert len(found.judged) == 80
    expected = [*sentences(60, 1), *sentences(20, 2, longest=50)]
    assert [row.text for row in found.judged] == [" ".join(words) for words, _ in expected]
    wrong = [row for row in found.judged if row.badness]
    assert all((row.gold == row.guess) == (row.badness == 0) for row in found.judged)
    assert wrong and found.judged[0].place == f"{made / 'dev.conll'}:1"
    assert found.confusion.labels == ("O", "LOC", "PER")
    assert found.confusion.counts_CC.sum() == sum(len(words) for words, _ in expected)


def test_tags_of_the_model_are_those_that_evaluate_scores(trained, tmp_path):
    model = api.load(trained)
    dev = [*sentences(60, 1), *sentences(20, 2, longest=50)]
    found = model.tag([words for words, _ in dev], max_length=16)
    guesses = [[word.tag for word in one.words] for one in found]
    scores = entity_scores([tags for _, tags in dev], guesses, mode="seqeval")
    expected = evaluate(trained).scores
    assert {name: expected[name] for name in scores} == pytest.approx(scores)
    for one, tags in zip(found, guesses, strict=True):
        spans = [(e.type, e.first_word, e.last_word) for e in one.entities]
        assert spans == [tuple(entity) for entity in entities(tags, scheme="iob2")]

    save_hf(tmp_path / "hf", model.params, config=model.config, tokenizer=model.tokenizer)
    assert json.loads((tmp_path / "hf/config.json").read_text())["id2label"]["1"] == "B-LOC"
    assert [
        [word.tag for word in one.words]
        for one in api.load(tmp_path / "hf").tag([words for words, _ in dev], max_length=16)
    ] == guesses


def test_transformers_gives_the_same_tags(trained, tmp_path):
    torch = pytest.importorskip("torch", reason="the reference is transformers itself")
    transformers = pytest.importorskip("transformers", reason="the reference is transformers itself")
    model = api.load(trained)
    save_hf(tmp_path, model.params, config=model.config, tokenizer=model.tokenizer)
    theirs = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    words = [words for words, _ in sentences(20, 7)]
    inputs = tokenizer(words, is_split_into_words=True, return_tensors="pt", padding=True)
    with torch.no_grad():
        probabilities_BLC = theirs(**inputs).logits.softmax(-1).numpy()
    for number, one in enumerate(model.tag(words)):
        numbers = inputs.word_ids(number)
        for place, word in enumerate(one.words):
            scores_C = probabilities_BLC[number, numbers.index(place)]
            assert theirs.config.id2label[int(scores_C.argmax())] == word.tag
            assert word.probability == pytest.approx(scores_C.max(), rel=1e-3)


def test_a_head_goes_on_and_devices_do_not_change_its_scores(made, tmp_path, trained):
    config = config_of(made, parallel__mode="pmap", train__steps=1, optim__learning_rate=1e-12)
    finetune(config, tmp_path / "run", init=trained)
    before, *_ = read_metrics(tmp_path / "run/metrics.jsonl")
    expected = evaluate(trained).scores
    assert (before["split"], before["step"]) == ("eval", 0)
    assert {name: before[name] for name in expected} == pytest.approx(expected, rel=1e-4)


# ---------------------------------------------------------------------------------------------
# Schemes, labels, scores
# ---------------------------------------------------------------------------------------------


def predicted(task, change):
    """Predictions in rows of any order: `change` of the tags that are right."""
    features = task.data.eval
    words_T, tags_T = (features.of_tokens[name] for name in ("words_L", "tags_L"))
    order = np.random.default_rng(0).permutation(len(words_T))
    guesses_T = np.where(tags_T >= 0, change(tags_T), 0)
    return {"words_BL": words_T[order].reshape(1, -1), "tags_BL": guesses_T[order].reshape(1, -1)}


@pytest.mark.parametrize("mode", ["seqeval", "strict", "conll"])
@pytest.mark.parametrize("scheme", ["iob1", "iob2", "iobes", "bilou"])
def test_every_scheme_is_found_and_scored_in_every_mode(scheme, mode, made, tmp_path):
    rows = [
        *sentences(40, 3),
        (["ann", "ann", "oslo", "new", "york"], ["B-PER", "B-PER", "B-LOC", "B-LOC", "I-LOC"]),
    ]
    rows = [(words, convert(tags, source="iob2", to=scheme)) for words, tags in rows]
    path = write_conll(tmp_path / "x.conll", rows)
    config = config_of(made, task__train=path, task__eval=path, task__entity_mode=mode)
    task = task_of(config, made, tmp_path)
    assert task.config.task.scheme == scheme
    assert f"config.task.scheme={scheme!r}, found in {path}" in task.data.notes
    right = task.score(predicted(task, lambda tags: tags))
    assert right == {"f1": 1, "precision": 1, "recall": 1, "accuracy": 1, "f1/LOC": 1, "f1/PER": 1}
    none = task.data.labels.index("O")
    location = [i for i, label in enumerate(task.data.labels) if label.endswith("LOC")]
    missed = task.score(predicted(task, lambda tags: np.where(np.isin(tags, location), none, tags)))
    assert missed["precision"] == missed["f1/PER"] == 1 and missed["f1/LOC"] == 0
    found = [entity.kind for _, tags in rows for entity in entities(tags, scheme=scheme)]
    assert missed["recall"] == pytest.approx(found.count("PER") / len(found))


def test_inner_tags_alone_are_io(made, tmp_path):
    path = write_conll(tmp_path / "x.conll", [(["ann", "a"], ["I-PER", "O"])])
    for mode in ("seqeval", "strict"):
        task = task_of(
            config_of(made, task__train=path, task__eval=path, task__entity_mode=mode), made, tmp_path
        )
        assert (task.config.task.scheme, task.data.labels) == ("io", ("O", "I-PER"))
        assert task.score(predicted(task, lambda tags: tags))["f1"] == 1


def test_a_tag_that_only_evaluation_has_is_known_if_its_type_is(made, tmp_path):
    train = write_conll(tmp_path / "train.conll", [(["bob", "the", "york"], ["B-PER", "O", "B-LOC"])])
    dev = write_conll(tmp_path / "dev.conll", [(["bob", "lee"], ["B-PER", "I-PER"])])
    task = task_of(config_of(made, task__train=train, task__eval=dev, task__scheme="iob2"), made, tmp_path)
    assert task.data.labels == task.model.head.labels == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    write_conll(tmp_path / "dev.conll", [(["a"], ["O"]), (["bob", "lee"], ["O", "B-ORG"])])
    with pytest.raises(UserError, match=r"dev\.conll:3: tag 'B-ORG' of word 2, 'lee'.*O, B-LOC"):
        task_of(config_of(made, task__train=train, task__eval=dev), made, tmp_path)


def test_labels_that_are_given_are_taken_as_they_are(made, tmp_path):
    path = write_conll(tmp_path / "x.conll", [(["a", "the"], ["O", "O"])])
    labels = ("I-PER", "B-PER", "O")
    config = config_of(made, task__train=path, task__labels=labels, task__eval="")
    task = task_of(config, made, tmp_path)
    assert (task.data.labels, task.config.task.scheme) == (labels, "iob1")


def test_classes_of_words_have_accuracy_and_macro_f1(made, tmp_path):
    rows = [(words, ["NOUN" if w in WORDS[:6] else "X" for w in words]) for words, _ in sentences(50, 4)]
    path = tmp_path / "pos.jsonl"
    path.write_text("".join(json.dumps({"tokens": w, "upos": t}) + "\n" for w, t in rows))
    config = config_of(made, task__train=str(path), task__eval=str(path))
    task = task_of(config, made, tmp_path)
    assert (task.config.task.scheme, task.data.labels) == ("none", ("NOUN", "X"))
    assert task.select.name == "accuracy" and select_of(config).name == "f1"
    noun, other = (sum(tags.count(tag) for _, tags in rows) for tag in ("NOUN", "X"))
    predictions = predicted(task, lambda tags: np.ones_like(tags))
    f1 = 2 * other / (2 * other + noun)
    assert task.score(predictions) == pytest.approx({"accuracy": other / (noun + other), "macro_f1": f1 / 2})
    judged = task.judged(predictions)[0]
    assert judged.badness == rows[0][1].count("NOUN")
    assert judged.guess == " ".join(f"{word}/X" for word in rows[0][0])
    assert task.confusion(predictions).counts_CC.tolist() == [[0, noun], [0, other]]
    with pytest.raises(ConfigError, match=r"task\.select='f1' must be one of accuracy, macro_f1"):
        task_of(
            dataclasses.replace(config, task=dataclasses.replace(config.task, select="f1")), made, tmp_path
        )
    with pytest.raises(ConfigError, match=r"entity_mode='strict'.*classes of words"):
        task_of(config_of(made, task__train=str(path), task__entity_mode="strict"), made, tmp_path)


def test_an_evaluation_that_is_cut_short_scores_whole_sentences(made, tmp_path):
    task = task_of(config_of(made), made, tmp_path)
    whole = predicted(task, lambda tags: tags)
    words_BL = np.where(whole["words_BL"] == 5, -1, whole["words_BL"])
    lengths = [len(example.words) for example in task.data.gold.examples]
    lost = next(number for number in range(80) if sum(lengths[: number + 1]) > 5)
    kept = [row.place for row in task.judged({**whole, "words_BL": words_BL})]
    assert kept == [row.place for number, row in enumerate(task.judged(whole)) if number != lost]
    with pytest.raises(UserError, match=r"NaN or infinite.*learning_rate"):
        task.score(predicted(task, lambda tags: np.full_like(tags, -1)))


def test_bad_tags_are_one_line(made, tmp_path):
    def refused(rows, error=UserError, **values):
        path = write_conll(tmp_path / "bad.conll", rows)
        with pytest.raises(error) as caught:
            task_of(config_of(made, task__train=path, **values), made, tmp_path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    mixed = [(["ann", "lee", "a"], ["B-PER", "E-PER", "O"]), (["bob"], ["U-PER"])]
    said = refused(mixed)
    assert said.startswith("config.task.scheme='auto': ") and "bad.conll: the tags obey no scheme" in said
    assert "name the scheme" in said
    said = refused([(["ann", "a"], ["S-PER", "O"])], task__scheme="iob2")
    assert said.startswith("config.task.scheme='iob2': ") and "S-PER" in said
    assert "every word has the tag 'O'" in refused([(["a"], ["O"])])
    said = refused([(["a", "ann"], ["O", "B-PER"])], task__labels=("O", "PER"), task__scheme="iob2")
    assert "'PER'" in said
    (tmp_path / "ragged.conll").write_text("ann\tB-PER\n\nbob\tlee\tB-PER\n")
    with pytest.raises(UserError, match=r"ragged\.conll:3: 3 columns, must be 2"):
        task_of(config_of(made, task__train=str(tmp_path / "ragged.conll")), made, tmp_path)
    with pytest.raises(ConfigError, match=r"entity_mode='strict'.*scheme='none'"):
        config_of(made, task__scheme="none", task__entity_mode="strict")


def test_a_run_goes_on_with_what_it_found(trained, made, tmp_path):
    saved = json.loads((trained / "config.json").read_text())
    assert "iob2" in json.dumps(saved)
    before = read_metrics(trained / "metrics.jsonl")
    finetune(config_of(made), trained, init=made / "model")
    assert read_metrics(trained / "metrics.jsonl") == before
    other = write_conll(tmp_path / "test.conll", sentences(10, 9))
    assert evaluate(trained, data=other).scores["f1"] > 0.8
    goes_on = open_task(config_of(made), tmp_path / "none", (trained,))
    assert goes_on.model.head.labels == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


def test_lists_from_python_are_learnt(made, tmp_path):
    import bert_jax

    rows = [(tuple(words), tags) for words, tags in sentences(200, 5)]
    model, scores = bert_jax.finetune(
        made / "model", task="tagging", train=rows[:150], eval=rows[150:], epochs=1, learning_rate=3e-3,
        batch_size=16, folder=tmp_path / "f", task__max_length=48,
    )  # fmt: skip
    guesses = [[word.tag for word in one.words] for one in model.tag([words for words, _ in rows[150:]])]
    again = entity_scores([tags for _, tags in rows[150:]], guesses, mode="seqeval")
    assert {name: scores[name] for name in again} == pytest.approx(again)
    for bad in (("ann", "O"), (["ann"], ["O", "O"]), (["ann"],), "ab"):
        with pytest.raises(UserError, match=r"eval\[1\]=.*\(words, tags\)"):
            bert_jax.finetune(made / "model", task="tagging", train=rows, eval=[rows[0], bad])


def test_the_settled_configuration_is_valid(made, tmp_path):
    task = task_of(config_of(made), made, tmp_path)
    assert configs.resolve(configs.to_dict(task.config), FinetuneConfig) == task.config
    assert dataclasses.replace(task.config.task, scheme="auto") == config_of(made).task
