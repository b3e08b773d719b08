"""Ours = the installed transformers, live: the computation, the files both ways, the sizes.

Models and reference runs come from the golden's generator. Outputs: largest absolute difference < 1e-5.
Gradients: largest absolute difference over all weights < 1e-4 of the largest gradient element of all.
"""

import dataclasses
import functools
import json
import math
import subprocess
import sys

import jax
import numpy as np
import pytest

from bert_jax.config import TokenizerConfig
from bert_jax.errors import UserError
from bert_jax.interop import names
from bert_jax.interop.load import load_hf, load_tokenizer
from bert_jax.interop.save import save_hf
from bert_jax.models import bert, presets
from bert_jax.objectives.pretrain import pretraining
from bert_jax.text import tokenizer as tokenizers
from bert_jax.text.vocabulary import count_chunks

torch = pytest.importorskip("torch", reason="the reference needs torch")
transformers = pytest.importorskip("transformers", reason="the reference is transformers itself")
from tests.golden import make_bert_golden as golden  # noqa: E402  (draws models with the two above)

transformers.logging.set_verbosity_error()
torch.set_num_threads(1)  # tiny matrices: threads would only wait for each other

ODD = {"vocab_size": 61, "hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 3}
TINY = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
CASES = {
    "erf": dict(ODD, intermediate_size=136, max_position_embeddings=21, hidden_act="gelu"),
    "tanh": dict(
        TINY, intermediate_size=56, max_position_embeddings=23, hidden_act="gelu_new", type_vocab_size=1
    ),
    "torch-tanh": dict(
        TINY,
        intermediate_size=40,
        max_position_embeddings=29,
        hidden_act="gelu_pytorch_tanh",
        layer_norm_eps=1e-5,
    ),
}


def our_config(model, **settings):
    raw = json.loads(model.config.to_json_string(use_diff=False))
    return dataclasses.replace(names.config_from_hf(raw, place="live"), **settings)


def our_params(model):
    return names.from_hf(golden.weights(model), our_config(model))


@functools.cache  # the loss and all it is made of in one program: compiling is what takes the time
def program(config):
    objective = pretraining(bert.BertForPretraining(config).apply, "nsp")

    def loss(params, batch):
        output = objective.forward(params, batch, None)
        weights, sums = objective.weights(batch), objective.sums(output, batch)
        return sum(sums[term][0] / weights[term] for term in objective.terms), output

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def logits_of(model, batch):
    """transformers' (hidden states, MLM logits [B, L, V], pair logits) without gradients."""
    with torch.no_grad():
        out = model(**golden.hf_inputs(batch), output_hidden_states=True)
    return np.stack(out.hidden_states), out.prediction_logits.numpy(), out.seq_relationship_logits.numpy()


def worst(ours, theirs):
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape
    return float(np.max(np.abs(ours - theirs)))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("case", CASES)
def test_every_output_the_loss_and_every_gradient(case, attention):
    model = golden.make_model(seed=3, attention=attention, **CASES[case])
    batch = golden.make_batch(model.config, rows=5, length=19, slots=4, seed=4)
    theirs = golden.reference(model, batch)
    config = our_config(model)
    (loss, output), gradients = program(config)(our_params(model), batch)
    for name, ours in (
        ("hidden_NBLD", np.stack(output.hidden_states)),  # padding's own states included
        ("pooled_BD", output.pooled_BPD[:, 0]),
        ("mlm_logits_BMV", output.mlm_logits_BMV),
        ("pair_logits_BC", output.pair_logits_BPC[:, 0]),
    ):
        assert worst(ours, theirs[name]) < 1e-5, name
    assert worst(loss, theirs["mlm_loss"] + theirs["pair_loss"]) < 1e-5
    ours = names.to_hf(gradients, config)
    assert ours.keys() == golden.weights(model).keys()
    largest = max(np.abs(theirs[f"gradient/{name}"]).max() for name in ours)
    assert largest > 0.1
    for name, gradient in ours.items():
        assert worst(gradient, theirs[f"gradient/{name}"]) < 1e-4 * largest, name


TEXTS = ["The École sat, naïvely, on 漢字 mats.", "It won't stop; [MASK] costs £3.50!", "[SEP] x" * 3]


@functools.cache
def trained(lowercase):
    return tokenizers.train(count_chunks(TEXTS * 3), TokenizerConfig(vocab_size=90, lowercase=lowercase))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(folder, config, params) of an export of random weights, cased, tanh GELU."""
    settings = CASES["tanh"] | {"vocab_size": 90, "type_vocab_size": 2}
    model = golden.make_model(seed=5, **settings)
    folder = tmp_path_factory.mktemp("export") / "runs" / "model"
    params = our_params(model)
    save_hf(folder, params, config=our_config(model), tokenizer=trained(False))
    return folder, our_config(model), params


@pytest.mark.parametrize("auto", [False, True])
def test_an_export_loads_without_a_word_and_computes_the_same(exported, auto):
    folder, config, params = exported
    loader = transformers.AutoModelForPreTraining if auto else transformers.BertForPreTraining
    model, info = loader.from_pretrained(folder, output_loading_info=True)
    assert type(model) is transformers.BertForPreTraining
    assert not any(info.values()), info  # missing, unexpected, mismatched, error messages
    assert model.dtype == torch.float32
    batch = golden.make_batch(model.config, rows=3, length=17, slots=4, seed=6)
    hidden, mlm, pair = logits_of(model.eval(), batch)
    every = dict(batch, mlm_positions_BM=batch["positions_BL"], mlm_targets_BM=batch["tokens_BL"])
    output = jax.jit(bert.BertForPretraining(config).apply)({"params": params}, every)
    assert worst(np.stack(output.hidden_states), hidden) < 1e-5
    assert worst(output.mlm_logits_BMV, mlm) < 1e-5
    assert worst(output.pair_logits_BPC[:, 0], pair) < 1e-5


@pytest.mark.parametrize("lowercase", [True, False])
def test_an_exported_tokenizer_gives_our_ids(exported, tmp_path, lowercase):
    _, config, params = exported
    ours = trained(lowercase)
    plain = ours.encode_batch(TEXTS)  # leaves the backend reading "[MASK]" as text; files must not
    save_hf(tmp_path / "a", params, config=config, tokenizer=ours)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "a")
    assert theirs(TEXTS)["input_ids"] == ours.encode_batch(TEXTS, special=True)
    assert type(theirs) is transformers.BertTokenizer
    assert theirs.model_max_length == config.max_positions
    assert theirs.mask_token_id == ours.special.mask and theirs.pad_token_id == ours.special.pad
    assert theirs("a", "b")["token_type_ids"] == [0, 0, 0, 1, 1]
    (tmp_path / "a" / "tokenizer.json").unlink()  # an old directory: vocab.txt and the settings alone
    assert load_tokenizer(tmp_path / "a").encode_batch(TEXTS) == plain


def test_a_tokenizer_that_is_not_berts_is_exported_as_it_is(exported, tmp_path):
    from tokenizers import Tokenizer, normalizers, pre_tokenizers

    _, config, params = exported
    backend = Tokenizer.from_str(trained(True).backend.to_str())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ours = tokenizers.Tokenizer(backend)
    save_hf(tmp_path / "a", params, config=config, tokenizer=ours)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "a")
    ids = ours.encode_batch(TEXTS, special=True)
    assert theirs(TEXTS)["input_ids"] == ids != trained(True).encode_batch(TEXTS, special=True)
    assert set(theirs("a")) == {"input_ids", "token_type_ids", "attention_mask"}


def assert_same(found, params):
    """Bit for bit the same tree."""
    assert jax.tree.structure(found) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, found, params)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("shard", ["5GB", "20KB"])
def test_out_through_transformers_and_back_is_bit_identical(exported, tmp_path, shard):
    folder, config, params = exported
    direct = load_hf(folder)
    model = transformers.BertForPreTraining.from_pretrained(folder)
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard == "20KB")
    for found, found_params, report in (direct, load_hf(tmp_path)):
        assert found == config
        assert_same(found_params, params)
        assert report.missing == () and report.unexpected == ()


@pytest.mark.parametrize(
    ("kind", "missing", "unexpected"),
    [
        ("BertModel", ("mlm_head", "pair_head"), ()),
        ("BertForMaskedLM", ("bert/pooler", "pair_head"), ()),
        ("BertForNextSentencePrediction", ("mlm_head",), ()),
        (
            "BertForSequenceClassification",
            ("mlm_head", "pair_head"),
            ("classifier.bias", "classifier.weight"),
        ),
    ],
)
def test_other_bert_classes_give_what_they_have(exported, tmp_path, kind, missing, unexpected):
    folder, config, params = exported
    getattr(transformers, kind).from_pretrained(folder).save_pretrained(tmp_path)
    found_config, found, report = load_hf(tmp_path)
    assert found_config == config
    assert (report.missing, report.unexpected) == (missing, unexpected)
    kept = {name: dict(part) for name, part in params.items() if name not in missing}
    if "bert/pooler" in missing:
        del kept["bert"]["pooler"]
    assert_same(found, kept)


def test_the_conversion_a_pickle_is_refused_with_works(exported, tmp_path):
    folder, _, params = exported
    model = transformers.BertForPreTraining.from_pretrained(folder)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")  # tied tensors stored twice
    with pytest.raises(UserError, match="a pickle, which can run code") as refusal:
        load_hf(tmp_path)
    command = str(refusal.value).partition("convert it: python ")[2]
    subprocess.run(f"{sys.executable} {command}", shell=True, check=True, cwd="/")
    assert_same(load_hf(tmp_path)[1], params)


def test_defaults_of_a_field_that_config_json_leaves_out_are_transformers():
    theirs = transformers.BertConfig()
    ours = names.config_to_hf(presets.ModelConfig(), pad_token_id=0)
    assert {key: getattr(theirs, key) for key in ours if key != "architectures"} == {
        key: value for key, value in ours.items() if key != "architectures"
    }
    assert names.config_from_hf({"model_type": "bert"}, place="") == presets.ModelConfig()


@pytest.mark.parametrize("name", presets.PRESETS)
def test_parameter_counts_of_the_presets(name):
    raw = names.config_to_hf(presets.PRESETS[name], pad_token_id=0)
    with torch.device("meta"):
        model = transformers.BertModel(transformers.BertConfig(**raw))
    assert presets.parameter_count(name) == sum(math.prod(p.shape) for p in model.parameters())
    assert names.config_from_hf(raw, place="") == presets.PRESETS[name]
