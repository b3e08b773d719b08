"""Probes as a user runs them: equal to other ways to compute them, and to themselves for every arm."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import bert_jax
from bert_jax import config as configs
from bert_jax.__main__ import main
from bert_jax.commands import evaluate, probe
from bert_jax.data.batches.pipeline import Batches
from bert_jax.data.corpus.open import open_corpus
from bert_jax.data.instances.index import split_documents
from bert_jax.errors import UsageError, UserError
from bert_jax.models.inference import Inference
from bert_jax.probes import reference, scores
from bert_jax.probes import run as probing
from bert_jax.probes.encoder import first_states
from bert_jax.probes.pairs import labelled_pairs
from bert_jax.tasks.choose import task_of
from bert_jax.tasks.load import load_workdir
from bert_jax.text import tokenizer
from bert_jax.training import workdir as workdirs
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.trainer import Trainer


def untrained(config, folder):
    """A workdir with one checkpoint, of step 0."""
    state = Trainer.of(task_of(config), config, jax.devices()[:1]).new_state()
    with (
        workdirs.claim(folder, config, identity={"corpus": open_corpus(config).digest}),
        Checkpoints(folder / "checkpoints") as checkpoints,
    ):
        checkpoints.save(state)
    return folder


def changed(config, **groups):
    raw = configs.to_dict(config)
    for group, values in groups.items():
        raw[group] = raw[group] | values if isinstance(values, dict) else values
    return configs.resolve(raw)


@pytest.fixture(scope="module")
def probed(straight):
    return probe.run(straight)


def by_name(probed):
    return {score.name: score for score in probed.scores}


def test_the_mlm_loss_is_what_evaluate_reports(straight, probed):
    values = evaluate.run(straight)
    found = by_name(probed)
    assert probed.step == values["step"] == 12
    assert found["mlm.loss"].value == pytest.approx(values["mlm_loss"], rel=1e-6)
    assert found["mlm.accuracy"].value == pytest.approx(values["mlm_accuracy"], rel=1e-6)


def test_rows_equal_numpy_on_the_api_s_logits(straight, probed, prepared):
    """The masked rows through `bert_jax.load`, the loss by hand."""
    rows = reference.rows_config(prepared, batch_size=6)
    batches = Batches(open_corpus(prepared), rows, "eval")
    batch = batches.at(0)
    model = bert_jax.load(straight)
    out = model(batch["tokens_BL"], batch["type_ids_BL"], batch["pack_ids_BL"] > 0)
    logits_BLV = np.asarray(out.mlm_logits_BLV, np.float64)
    log_BLV = logits_BLV - np.log(np.exp(logits_BLV).sum(-1, keepdims=True))
    found = by_name(probed)
    assert len(found["mlm.loss"].total_R) == len(batches.index)
    for r in range(6):
        loss = hits = 0
        used = batch["mlm_weights_BM"][r] > 0
        for position, target in zip(
            batch["mlm_positions_BM"][r][used], batch["mlm_targets_BM"][r][used], strict=True
        ):
            loss -= log_BLV[r, position, target]
            hits += log_BLV[r, position].argmax() == target
        assert found["mlm.loss"].total_R[r] == pytest.approx(loss, rel=1e-5)
        assert found["mlm.accuracy"].total_R[r] == hits
        assert found["mlm.loss"].weight_R[r] == used.sum()


def test_the_files_and_the_printed_json_hold_the_same(straight, prepared, capsys):
    found = probe.run(straight, probes=("sop", "mlm"), pairs=40)
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    saved = scores.read(straight)
    assert printed == {"step": 12, **{score.name: score.value for score in saved.scores}}
    assert list(by_name(saved)) == ["sop.accuracy", "mlm.loss", "mlm.accuracy"]
    assert (saved.settings, saved.breakdowns, saved.details) == (
        found.settings,
        found.breakdowns,
        found.details,
    )
    assert saved.settings["pairs"] == saved.details["sop"]["fitted_pairs"] == 40


# ---------------------------------------------------------------------------------------------
# Pairs
# ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def documents(corpus, prepared):
    """Token ids of each document, encoded from the text itself."""
    vocabulary = tokenizer.load(open_corpus(prepared).folder / "tokenizer.json")
    texts = [text.split("\n") for text in corpus.read_text().strip().split("\n\n")]
    return [[i for ids in vocabulary.encode_batch(lines, special=False) for i in ids] for lines in texts]


def places(part, documents):
    """(document, first token) wherever the run of ids `part` stands."""
    return {
        (number, first)
        for number, ids in enumerate(documents)
        for first in range(len(ids) - len(part) + 1)
        if ids[first : first + len(part)] == part
    }


def segments(rows, special):
    """(A, B) of each row; fails where a row is anything but [CLS] A [SEP] B [SEP] padding."""
    for tokens, types, packs in zip(rows.tokens_BL, rows.type_ids_BL, rows.pack_ids_BL, strict=True):
        used = int(packs.sum())
        assert (packs[:used] == 1).all() and (tokens[used:] == special.pad).all()
        a, b = tokens[:used][types[:used] == 0].tolist(), tokens[:used][types[:used] == 1].tolist()
        assert (a[0], a[-1], b[-1]) == (special.cls, special.sep, special.sep)
        yield a[1:-1], b[:-1]


@pytest.mark.parametrize("split", ["train", "eval"])
@pytest.mark.parametrize("objective", ["nsp", "sop"])
def test_pairs_are_the_text_and_their_labels_true(prepared, documents, objective, split):
    shards = open_corpus(prepared)
    config = reference.pairs_config(reference.rows_config(prepared), objective)
    pairs = labelled_pairs(shards, config, split, limit=60)
    mine = split_documents(len(documents), prepared.data.eval_fraction, split)
    documents = [ids if number in mine else [] for number, ids in enumerate(documents)]
    checked = 0
    rows = segments(pairs.rows, shards.special)
    for label, lengths, (a, b) in zip(pairs.labels_N, pairs.lengths_N2, rows, strict=True):
        assert lengths.tolist() == [len(a), len(b)]
        at_a, at_b = places(a, documents), places(b, documents)
        assert at_a and at_b
        if len(at_a) > 1 or len(at_b) > 1:
            continue  # a run so short that it stands twice in this corpus
        [(of_a, first_a)], [(of_b, first_b)] = at_a, at_b
        checked += 1
        if objective == "nsp":
            assert label == (of_a != of_b)
            assert label or first_a < first_b
        else:
            assert of_a == of_b
            assert first_a + len(a) == first_b if not label else first_b + len(b) == first_a
    assert checked >= 0.6 * len(pairs) > 5


class Planted:
    """Stands in for an encoder whose first state knows the label, or only which tokens there are."""

    heads = ()

    def __init__(self, *, knows: bool):
        self.knows = knows

    def first_states(self, rows, *, description):
        table = np.random.default_rng(0).normal(size=(128, 8))
        bag_ND = table[rows.tokens_BL].mean(1)
        if self.knows:
            bag_ND = np.concatenate([bag_ND, rows.pair_labels_BP + 0.1 * bag_ND[:, :1]], axis=1)
        return bag_ND


@pytest.fixture
def planted(monkeypatch):
    ask = lambda model, rows, description: model.first_states(rows, description=description)  # noqa: E731
    monkeypatch.setattr(probing, "first_states", ask)


@pytest.mark.parametrize("objective", ["nsp", "sop"])
def test_a_probe_finds_the_label_where_the_features_hold_it(prepared, objective, planted):
    subject = probing.Subject(
        Planted(knows=True), open_corpus(prepared), reference.rows_config(prepared), 100
    )
    found = probing.PROBES[objective](subject)
    assert found.scores[0].value == 1.0
    assert found.details["training_accuracy"] == 1.0


def test_a_probe_finds_no_order_in_a_bag_of_tokens(prepared, planted):
    subject = probing.Subject(
        Planted(knows=False), open_corpus(prepared), reference.rows_config(prepared), 100
    )
    [score] = probing.PROBES["sop"](subject).scores
    assert abs(score.value - 0.5) <= 3 * 0.5 / np.sqrt(len(score.total_R))
    assert 0.5 <= score.chance < 1


# ---------------------------------------------------------------------------------------------
# Arms and devices
# ---------------------------------------------------------------------------------------------


def test_every_arm_is_scored_on_the_same_rows(prepared, probed, tmp_path):
    """Another seed, no pooler, no types, packed rows, other masks: the same rows and the same pairs."""
    arm = changed(
        prepared,
        seed=5,
        data={"sentence_objective": "none", "format": "full_sentences", "packing": 2},
        masking={"unit": "span", "rate": 0.3, "max_predictions": 0},
        model={"pooler": "none", "type_vocab_size": 0},
        train={"batch_size": 16},
    )
    other = probe.run(untrained(arm, tmp_path / "arm"), reference=prepared)
    assert other.settings == probed.settings
    assert other.step == 0
    for name, score in by_name(probed).items():
        np.testing.assert_array_equal(score.weight_R, by_name(other)[name].weight_R)
        assert score.chance == by_name(other)[name].chance
    for ours, theirs in zip(probed.breakdowns, other.breakdowns, strict=True):
        assert (ours.labels, ours.counts) == (theirs.labels, theirs.counts)


def test_a_discriminator_has_no_mlm_and_is_probed_else(prepared, probed, tmp_path, capsys):
    arm = changed(
        prepared, data={"sentence_objective": "none"}, objective={"name": "rtd"}, model={"num_heads": 2}
    )
    arm = changed(arm, objective={"generator_width": 0.5, "embedding_sharing": "disentangled"})
    folder = untrained(arm, tmp_path / "arm")
    found = probe.run(folder, reference=prepared)
    assert list(by_name(found)) == ["nsp.accuracy", "sop.accuracy"]
    assert found.settings == probed.settings
    assert "left out: the model has no masked-language-model head" in capsys.readouterr().out
    # Its states are the discriminator's.
    config = reference.pairs_config(reference.rows_config(prepared), "sop")
    rows = labelled_pairs(open_corpus(prepared), config, "eval", limit=4).rows
    model, params = load_workdir(folder)
    ours = first_states(Inference(model, params, rows=8), rows, description="x")
    out = bert_jax.load(folder)(rows.tokens_BL, rows.type_ids_BL, rows.pack_ids_BL)
    np.testing.assert_allclose(ours, out.hidden_BLD[:, 0], atol=1e-5)


@pytest.mark.parametrize(("devices", "batch_size"), [(1, 4), (8, 100)])
def test_batches_and_devices_change_nothing(straight, prepared, probed, devices, batch_size):
    shards, rows = open_corpus(prepared), reference.rows_config(prepared)
    model, params = load_workdir(straight)
    encoder = Inference(model, params, rows=batch_size, devices=jax.devices()[:devices])
    assert encoder.rows % devices == 0
    subject = probing.Subject(encoder, shards, rows, probing.PAIRS)
    for name in ("mlm", "sop"):
        for score in probing.PROBES[name](subject).scores:
            expected = by_name(probed)[score.name]
            np.testing.assert_allclose(score.total_R, expected.total_R, rtol=1e-5)
            np.testing.assert_array_equal(score.weight_R, expected.weight_R)


def test_a_device_never_gets_more_than_64_rows(straight):
    model, params = load_workdir(straight)
    assert Inference(model, params, rows=4096).rows == 64 * jax.device_count()


# ---------------------------------------------------------------------------------------------
# The command line, and what it refuses
# ---------------------------------------------------------------------------------------------


def test_the_command_reads_the_reference_and_its_overrides(straight, experiment, monkeypatch):
    monkeypatch.setitem(probing.PROBES, "mlm", lambda subject: probing.Finding())
    arguments = ["--workdir", str(straight), "--probes", "mlm", "--like", str(experiment), "--pairs", "30"]
    assert _main([*arguments, "--config.masking.rate=0.3"]) == 0
    settings = scores.read(straight).settings
    assert (settings["masking"]["rate"], settings["pairs"]) == (0.3, 30)


def _main(arguments):
    from bert_jax.__main__ import COMMANDS

    COMMANDS.setdefault("probe", "measure")
    return main(["probe", *arguments])


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--probes", "mlm,glue"], 2, "--probes glue: must be of mlm, nsp, sop"),
        (["--probes", ","], 2, "must be of mlm, nsp, sop"),
        (["--pairs", "3"], 2, "--pairs 3 must be >= 20"),
        (["--checkpoint", "5"], 1, "no checkpoint '5'"),
        (["--config.masking.rate=0.3"], 2, "--config.masking.rate=0.3 has no effect here"),
        (["--like", "nowhere.py"], 2, "no such file: nowhere.py"),
    ],
)
def test_bad_input_is_one_line(straight, capfd, arguments, status, words):
    assert _main(["--workdir", str(straight), *arguments]) == status
    error = capfd.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_a_run_without_checkpoints(prepared, tmp_path):
    with workdirs.claim(tmp_path / "w", prepared, identity={"corpus": open_corpus(prepared).digest}):
        pass
    with pytest.raises(UserError, match="has no checkpoints: the run saved none yet"):
        probe.run(tmp_path / "w")


def test_a_corpus_that_changed_or_is_gone(prepared, tmp_path):
    with workdirs.claim(tmp_path / "w", prepared, identity={"corpus": "another"}):
        pass
    with pytest.raises(UserError, match="the run was trained on another"):
        probe.run(tmp_path / "w")
    gone = changed(prepared, data={"directory": str(tmp_path)})
    with workdirs.claim(tmp_path / "v", gone, identity={"corpus": "another"}):
        pass
    with pytest.raises(UserError, match="no prepared corpus"):
        probe.run(tmp_path / "v")


def test_no_held_out_documents(prepared, tmp_path):
    config = changed(prepared, data={"eval_fraction": 0.0})
    with workdirs.claim(tmp_path / "w", config, identity={"corpus": "any"}):
        pass
    with pytest.raises(UserError, match="held no documents out"):
        probe.run(tmp_path / "w")


def test_too_few_pairs_of_a_label(prepared):
    """Rows so short that none holds two sentences."""
    config = changed(prepared, data={"sequence_length": 8})
    pairs = reference.pairs_config(reference.rows_config(config), "sop")
    with pytest.raises(UserError, match=r"with label 0 and .* for sop, the probe needs >= 50 of each"):
        labelled_pairs(open_corpus(prepared), pairs, "eval", limit=60, each=50)


def test_an_unknown_probe_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(UsageError, match="--probes x"):
        probe.run(tmp_path / "nowhere", probes=("x",))


def test_a_probe_that_joins_is_run(straight, monkeypatch):
    score = scores.Score(name="task.f1", total_R=np.ones(2), weight_R=np.ones(2), better="higher")
    monkeypatch.setitem(probing.PROBES, "task", lambda subject: probing.Finding(scores=(score,)))
    found = probe.run(straight, probes=("task",))
    assert dataclasses.asdict(found)["scores"][0]["name"] == "task.f1"
    assert scores.read(straight).scores[0].value == 1.0
