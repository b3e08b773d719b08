"""Ours = the installed transformers, live: the computation, the files both ways, the sizes.

Weights and batches are `tests.golden.drawn`'s, on odd shapes. Outputs: largest absolute difference at real
tokens < 1e-5 (DeBERTa 5e-5). Gradients: over all weights < 1e-4 of the largest gradient element of all.
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

from bert_jax.config import TokenizerConfig, presets
from bert_jax.errors import UserError
from bert_jax.interop import config_json, names
from bert_jax.interop.families import FAMILIES
from bert_jax.interop.load import load_hf, load_tokenizer
from bert_jax.interop.save import save_hf
from bert_jax.models import bert
from bert_jax.models.bert import parameter_count
from bert_jax.models.parameters import nest
from bert_jax.text import tokenizer as tokenizers
from bert_jax.text.vocabulary import count_chunks
from tests.configs import changed
from tests.golden import drawn
from tests.interop import computed

torch = pytest.importorskip("torch", reason="the reference needs torch")
transformers = pytest.importorskip("transformers", reason="the reference is transformers itself")
from tests.golden import reference  # noqa: E402  (runs models of the two above)

transformers.logging.set_verbosity_error()
torch.set_num_threads(1)  # tiny matrices: threads would only wait for each other

BPE_SIZE = 300  # RoBERTa's padding has id 1, as it has in a byte-level BPE, which begins with 256 bytes
ODD = {
    "vocab_size": 91, "hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 3,
    "intermediate_size": 136, "max_position_embeddings": 23,
}  # fmt: skip
TWO = ODD | {"num_hidden_layers": 2}  # layers, where a case is about something else: they compile faster
DISTILBERT = {
    "vocab_size": 91, "dim": 96, "n_layers": 3, "n_heads": 3, "hidden_dim": 136, "max_position_embeddings": 23,
}  # fmt: skip
RELATIVE = ODD | {
    "relative_attention": True, "position_biased_input": False, "legacy": False, "pos_att_type": "p2c|c2p",
}  # fmt: skip
V3 = RELATIVE | {"position_buckets": 6, "share_att_key": True, "norm_rel_ebd": "layer_norm"}
MODERN = ODD | {  # rows of several windows; a fourth layer is the next period's first
    "num_hidden_layers": 4, "local_attention": 6, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1,
    "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
CASES = {
    "bert": ("BertForPreTraining", ODD),
    "bert-one-type": (
        "BertForPreTraining",
        TWO | {"hidden_size": 48, "hidden_act": "gelu_new", "type_vocab_size": 1, "layer_norm_eps": 1e-5},
    ),
    "roberta": (
        "RobertaForMaskedLM",
        ODD | {"vocab_size": BPE_SIZE, "type_vocab_size": 1, "layer_norm_eps": 1e-5},
    ),
    "roberta-encoder": ("RobertaModel", TWO | {"vocab_size": BPE_SIZE}),
    "albert": ("AlbertForPreTraining", ODD | {"embedding_size": 40}),
    "albert-groups": (
        "AlbertForMaskedLM",
        ODD | {"embedding_size": 40, "num_hidden_layers": 4, "num_hidden_groups": 2, "hidden_act": "gelu"},
    ),
    "albert-unshared": ("AlbertForMaskedLM", TWO | {"embedding_size": 96, "num_hidden_groups": 2}),
    "electra": ("ElectraForPreTraining", ODD | {"embedding_size": 96}),
    "electra-generator": ("ElectraForMaskedLM", TWO | {"embedding_size": 104}),
    "distilbert": ("DistilBertForMaskedLM", DISTILBERT),
    "deberta": ("DebertaForMaskedLM", RELATIVE | {"max_relative_positions": 9}),
    "deberta-v2-separate": ("DebertaV2ForMaskedLM", RELATIVE | TWO | {"type_vocab_size": 2}),
    "deberta-v2-xlarge": ("DebertaV2ForMaskedLM", V3 | TWO | {"conv_kernel_size": 3, "conv_act": "gelu"}),
    "deberta-v3": ("DebertaV2ForMaskedLM", V3),
    "modernbert": ("ModernBertForMaskedLM", MODERN),
    "modernbert-global": ("ModernBertForMaskedLM", MODERN | {"global_attn_every_n_layers": 1}),
}
ONE_A_FAMILY = ("bert", "roberta", "albert", "electra", "distilbert", "deberta", "deberta-v3", "modernbert")


@functools.cache
def config_of(case):
    return reference.model_config(*CASES[case])


@functools.cache
def weights_of(case):
    """Under Hugging Face's names: the encoder's and those of the heads of the case's class."""
    return drawn.weights(config_of(case), reference.heads_of(CASES[case][0]), seed=3)


@functools.cache
def theirs_of(case):
    """(the model, what it computes)."""
    model = reference.build(*CASES[case], weights_of(case))
    return model, reference.compute(model, batch_of(case))


def params_of(case):
    return names.from_hf(weights_of(case), config_of(case))


def batch_of(case):
    return drawn.batch(config_of(case), rows=5, length=19, slots=4, seed=4)


@pytest.mark.parametrize("case", CASES)
def test_every_output_the_losses_and_every_gradient(case):
    _, theirs = theirs_of(case)
    found = computed.differences(
        computed.compute(config_of(case), weights_of(case), batch_of(case)), theirs, batch_of(case)
    )
    gradients = {name: found.pop(name) for name in list(found) if name.startswith("gradient/")}
    limit = 5e-5 if config_of(case).positions == "disentangled" else 1e-5
    assert {name: difference for name, difference in found.items() if not difference < limit} == {}
    largest = max(np.abs(theirs[name]).max() for name in gradients)
    assert largest > 0.03
    assert {n: difference for n, difference in gradients.items() if not difference < 1e-4 * largest} == {}


def test_layers_that_share_a_part_become_layers_that_repeat_it(tmp_path):
    """Attention shared and MLPs not is more than Hugging Face's ALBERT has names for, but not a function more."""
    config = dataclasses.replace(config_of("albert-unshared"), sharing="attention")
    tensors = drawn.weights(config, ("mlm_head",), seed=3)
    params = names.from_hf(tensors, config)
    report = save_hf(tmp_path / "a", params, config=config, tokenizer=tokenizer_of(config))
    shared = {path for path in flat(params) if "/attention" in path}
    assert set(report.repeated) == shared and all("layer_0" in path for path in shared)
    model = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "a", attn_implementation="eager")
    batch = batch_of("albert-unshared")
    theirs = reference.compute(model.eval(), batch)
    ours = bert.BertWithHeads(dataclasses.replace(config, pooler="none"), ("mlm",))
    logits = jax.jit(ours.apply)({"params": params}, batch).mlm_logits_BMV
    np.testing.assert_allclose(logits, theirs["mlm_logits_BMV"], rtol=0, atol=1e-5)


# ---------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------

TEXTS = ["The École sat, naïvely, on 漢字 mats.", "It won't stop; [MASK] costs £3.50!", "[SEP] x" * 3]


@functools.cache
def trained(size=90, lowercase=True, kind="wordpiece"):
    config = TokenizerConfig(kind=kind, vocab_size=size, lowercase=lowercase)
    return tokenizers.train(count_chunks(TEXTS * 3), config)


def tokenizer_of(config):
    return trained(BPE_SIZE, False, "bpe") if config.family == "roberta" else trained()


def flat(params):
    return {
        "/".join(part.key for part in path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }


def assert_same(found, params):
    """Bit for bit the same tree."""
    assert flat(found).keys() == flat(params).keys()
    for path, leaf in flat(params).items():
        np.testing.assert_array_equal(flat(found)[path], leaf, err_msg=path)
        assert flat(found)[path].dtype == np.float32


def auto_class(architecture):
    end = next(end for end in ("ForPreTraining", "ForMaskedLM", "Model") if architecture.endswith(end))
    return getattr(transformers, "AutoModel" if end == "Model" else f"AutoModel{end}")


@functools.cache
def exported(case, root):
    config = config_of(case)
    folder = root / case
    report = save_hf(folder, params_of(case), config=config, tokenizer=tokenizer_of(config))
    return folder, report


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("exports")


@pytest.mark.parametrize("case", CASES)
def test_out_through_transformers_and_back(case, root, tmp_path):
    """Our export loads without a word and computes the same; it, and what transformers saves of it, is what went
    in, bit for bit, and so is another export."""
    folder, report = exported(case, root)
    assert (report.architecture, report.left, report.repeated) == (CASES[case][0], (), ())
    model, info = auto_class(report.architecture).from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager"
    )
    assert type(model).__name__ == report.architecture
    assert not any(info.values()), info  # missing, unexpected, mismatched, error messages
    assert model.dtype == torch.float32
    theirs = theirs_of(case)[1]
    for name, array in reference.compute(model.eval(), batch_of(case)).items():
        np.testing.assert_allclose(array, theirs[name], rtol=0, atol=1e-6, err_msg=name)
    model.save_pretrained(tmp_path / "theirs")
    for place in (folder, tmp_path / "theirs"):
        config, params, found = load_hf(place)
        assert (config, found.unexpected) == (config_of(case), ())
        assert_same(params, params_of(case))
    save_hf(tmp_path / "again", params, config=config, tokenizer=load_tokenizer(folder))
    for file in folder.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.parametrize("case", ONE_A_FAMILY)
def test_names_of_the_bare_encoder_shards_and_halves(case, root, tmp_path):
    """AutoModel saves without the prefix; the encoder is there, the heads are named as missing."""
    folder, _ = exported(case, root)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float16)
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    _, params, report = load_hf(tmp_path)
    heads = {entry.head for entry in names.table(config_of(case))} - {None, "bert/pooler"}
    assert set(report.missing) - {"bert/pooler"} == heads
    encoder = {k: v for k, v in flat(params_of(case)).items() if k.startswith(("bert/emb", "bert/enc"))}
    found = {k: v for k, v in flat(params).items() if k.startswith(("bert/emb", "bert/enc"))}
    assert found.keys() == encoder.keys()
    for path, leaf in encoder.items():
        np.testing.assert_allclose(found[path], leaf, rtol=2**-11, atol=2**-24, err_msg=path)


@pytest.mark.parametrize(
    ("case", "kind", "missing", "unexpected"),
    [
        ("bert", "BertForMaskedLM", ("bert/pooler", "pair_head"), ()),
        ("bert", "BertForNextSentencePrediction", ("mlm_head",), ()),
        ("bert", "BertForMultipleChoice", ("mlm_head", "pair_head"), ("classifier",)),
        ("albert", "AlbertForMaskedLM", ("bert/pooler", "pair_head"), ()),
        ("electra", "ElectraForMultipleChoice", ("mlm_head", "rtd_head"), ("classifier", "sequence_summary.summary")),
        ("distilbert", "DistilBertForMultipleChoice", ("mlm_head",), ("classifier", "pre_classifier")),
        ("deberta-v3", "DebertaV2ForMultipleChoice", ("mlm_head",), ("classifier",)),
    ],
)  # fmt: skip
def test_other_classes_give_what_they_have(case, kind, missing, unexpected, root, tmp_path):
    """Heads that are none of ours are named; those of tasks are in test_task_heads_parity."""
    folder, _ = exported(case, root)
    model = getattr(transformers, kind).from_pretrained(folder)
    model.save_pretrained(tmp_path)
    config, params, report = load_hf(tmp_path)
    assert report.missing == missing
    assert report.unexpected == tuple(
        sorted(f"{n}.{leaf}" for n in unexpected for leaf in ("bias", "weight"))
    )
    kept = {path: leaf for path, leaf in flat(params_of(case)).items() if not path.startswith(missing)}
    if "deberta" in case:  # the classifier's ContextPooler is the pooler
        assert config.pooler == "gelu"
        np.testing.assert_array_equal(
            flat(params)["bert/pooler/dense/kernel"], model.pooler.dense.weight.detach().numpy().T
        )
    else:
        assert config == config_of(case)
        assert_same(params, nest(kept))


@pytest.mark.parametrize("case", ["deberta", "deberta-v3"])
def test_the_older_name_of_debertas_head(case, tmp_path):
    """transformers' own default still is config.legacy=true: the same head under BERT's names, tied twice."""
    kind, settings = CASES[case]
    older = {
        name.replace("lm_predictions.lm_head.", "cls.predictions.transform.").replace(
            "transform.bias", "bias"
        ): array
        for name, array in weights_of(case).items()
    }
    model = reference.build(kind, settings | {"legacy": True}, older)
    theirs, legacy = theirs_of(case)[1], reference.compute(model, batch_of(case))
    np.testing.assert_allclose(legacy["mlm_logits_BMV"], theirs["mlm_logits_BMV"], rtol=0, atol=1e-5)
    model.save_pretrained(tmp_path)
    config, params, report = load_hf(tmp_path)
    assert (config, report.missing, report.unexpected) == (config_of(case), (), ())
    assert_same(params, params_of(case))


@pytest.mark.parametrize("case", ["deberta", "deberta-v3"])
def test_the_enhanced_mask_decoders_positions_go_out_and_come_back(case, tmp_path):
    config = changed(config_of(case), relative__mask_decoder=True)
    params = names.from_hf(drawn.weights(config, ("mlm_head",), seed=3), config)
    assert params["bert"]["embeddings"]["position"].shape == (23, 96)
    report = save_hf(tmp_path / "a", params, config=config, tokenizer=trained())
    assert report.ignored == ("bert/embeddings/position",)
    _, info = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "a", output_loading_info=True)
    assert not any(info.values()), info
    found, found_params, _ = load_hf(tmp_path / "a")
    assert found == config
    assert_same(found_params, params)


def test_the_conversion_a_pickle_is_refused_with_works(root, tmp_path):
    folder, _ = exported("bert", root)
    model = transformers.BertForPreTraining.from_pretrained(folder)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")  # tied tensors stored twice
    with pytest.raises(UserError, match="a pickle, which can run code") as refusal:
        load_hf(tmp_path)
    command = str(refusal.value).partition("convert it: python ")[2]
    subprocess.run(f"{sys.executable} {command}", shell=True, check=True, cwd="/")
    assert_same(load_hf(tmp_path)[1], params_of("bert"))


# ---------------------------------------------------------------------------------------------
# Tokenizers
# ---------------------------------------------------------------------------------------------


def save_encoder(folder, case, tokenizer):
    """An export of the case with another tokenizer: of tensors only the embeddings' rows depend on it."""
    config = dataclasses.replace(config_of(case), vocab_size=max(91, tokenizer.vocab_size))
    if config.family == "roberta":
        config = dataclasses.replace(config, position_offset=tokenizer.special.pad + 1)
    params = names.from_hf(drawn.weights(config, (), seed=3), config)
    save_hf(folder, params, config=config, tokenizer=tokenizer)
    return config


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
@pytest.mark.parametrize("case", ONE_A_FAMILY)
def test_an_exported_tokenizer_gives_our_ids(case, kind, tmp_path):
    if kind == "unigram":
        pytest.importorskip("sentencepiece", reason="a Unigram vocabulary is trained by SentencePiece")
    ours = trained({"wordpiece": 90, "bpe": 300, "unigram": 80}[kind], kind == "unigram", kind)
    config = save_encoder(tmp_path / "a", case, ours)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "a")
    texts = [text.replace("[MASK]", ours.names["mask"]) for text in TEXTS]
    assert theirs(texts)["input_ids"] == ours.encode_batch(texts, special=True)
    assert theirs.model_max_length == config.max_positions
    for role in ("pad", "unk", "cls", "sep", "mask"):
        assert getattr(theirs, f"{role}_token_id") == getattr(ours.special, role), role
    assert ("token_type_ids" in theirs("a", "b")) == (config.type_vocab_size > 1 and kind != "bpe")
    with torch.no_grad():
        model = transformers.AutoModel.from_pretrained(tmp_path / "a")
        model(**theirs("a", "b", return_tensors="pt"))


@pytest.mark.parametrize("lowercase", [True, False])
def test_an_exported_bert_has_berts_tokenizer(tmp_path, lowercase):
    ours = trained(90, lowercase)
    plain = ours.encode_batch(TEXTS)  # leaves the backend reading "[MASK]" as text; files must not
    save_encoder(tmp_path / "a", "bert", ours)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "a")
    assert type(theirs) is transformers.BertTokenizer
    assert theirs(TEXTS)["input_ids"] == ours.encode_batch(TEXTS, special=True)
    assert theirs("a", "b")["token_type_ids"] == [0, 0, 0, 1, 1]
    (tmp_path / "a" / "tokenizer.json").unlink()  # an old directory: vocab.txt and the settings alone
    assert load_tokenizer(tmp_path / "a").encode_batch(TEXTS) == plain


def test_a_tokenizer_that_is_not_berts_is_exported_as_it_is(tmp_path):
    from tokenizers import Tokenizer, normalizers, pre_tokenizers

    backend = Tokenizer.from_str(trained().backend.to_str())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ours = tokenizers.Tokenizer(backend)
    save_encoder(tmp_path / "a", "bert", ours)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "a")
    ids = ours.encode_batch(TEXTS, special=True)
    assert theirs(TEXTS)["input_ids"] == ids != trained().encode_batch(TEXTS, special=True)
    assert set(theirs("a")) == {"input_ids", "token_type_ids", "attention_mask"}


# ---------------------------------------------------------------------------------------------
# config.json and sizes
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "neobert"])
def test_defaults_of_a_key_that_config_json_leaves_out_are_transformers(family):
    required = {"relative_attention": True, "position_biased_input": False, "pos_att_type": "c2p"}
    required = required if family.startswith("deberta") else {}
    raw = {"model_type": FAMILIES[family].model_type, **required}
    theirs = transformers.AutoConfig.for_model(**raw)
    whole = json.loads(theirs.to_json_string(use_diff=False))
    assert config_json.config_from_hf(raw, place="") == config_json.config_from_hf(whole, place="")
    pad = FAMILIES[family].defaults.get("pad_token_id", 0)
    assert theirs.pad_token_id == pad
    ours = config_json.config_to_hf(config_json.config_from_hf(raw, place=""), pad_token_id=pad)
    both = {key: value for key, value in ours.items() if key in whole}.keys() - {"architectures", "legacy"}
    assert {"vocab_size", "hidden_size", "dim"} & both
    different = {key for key in both if whole[key] != ours[key]} - {"max_relative_positions"}
    assert different == set()


def count_of(config, heads):
    """(the encoder with its pooler, all): parameters by the table, each once."""
    counts = {
        entry.ours: math.prod(entry.our_shape) * len(entry.ours)
        for entry in names.table(config)
        if entry.head in (None, "bert/pooler", *heads)
    }
    encoder = sum(count for ours, count in counts.items() if ours[0].startswith("bert/"))
    return encoder, sum(counts.values())


NOT_THEIRS = ("neobert", "mosaicbert-base", "mosaicbert-large", "crammed-bert")
"""Presets that transformers has no class for; tests/config/test_presets.py has their counts."""


@pytest.mark.parametrize("name", [name for name in presets.PRESETS if name not in NOT_THEIRS])
def test_parameter_counts_of_the_presets(name):
    """Ours = the table, of one layer, for tracing a model is slow; the table = transformers, of all."""
    config = presets.PRESETS[name]
    one = dataclasses.replace(config, num_layers=1)
    assert parameter_count(one) == count_of(one, ())[0]
    raw = config_json.config_to_hf(config, pad_token_id=max(0, config.position_offset - 1))
    heads = dict(FAMILIES[config.family].architectures)[raw["architectures"][0]]
    known = transformers.AutoConfig.for_model(**raw)
    options = {"add_pooling_layer": False} if config.family == "roberta" else {}
    with torch.device("meta"):
        encoder = transformers.AutoModel.from_config(known, **options)
        whole = getattr(transformers, raw["architectures"][0])(known)
    positions = config.position_rows * config.hidden_size if config.relative.mask_decoder else 0
    theirs = [sum(math.prod(p.shape) for p in model.parameters()) for model in (encoder, whole)]
    assert count_of(config, heads) == (theirs[0] + positions, theirs[1] + positions)
