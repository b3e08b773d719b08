"""Files: every form that is written loads to the same ids, here and in `transformers`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from tokenizers import models, processors

from bert_jax.errors import UserError
from bert_jax.text.tokenizer import SpecialIds, load
from tests.text.samples import HARD, KINDS, TEXTS, entries, trained

_SAMPLES = [*HARD, "tabs\tand\u00a0spaces", "  two  spaces "]
_FORMS = [
    (kind, lowercase, name)
    for kind in KINDS
    for lowercase in (True, False)
    for name in [
        "tokenizer.json",
        ".",
        *{"wordpiece": ["vocab.txt"], "bpe": ["vocab.json", "merges.txt"]}.get(kind, []),
    ]
]


@pytest.mark.parametrize(("kind", "lowercase", "name"), _FORMS)
def test_a_saved_vocabulary_loads_to_the_same_ids(tmp_path, kind, lowercase, name):
    ours = trained(kind=kind, lowercase=lowercase)
    ours.save(tmp_path)
    theirs = load(tmp_path / name, lowercase=lowercase)
    assert entries(theirs) == entries(ours)
    assert theirs.special == ours.special
    for special in (False, True):
        assert theirs.encode_batch(_SAMPLES, special=special) == ours.encode_batch(_SAMPLES, special=special)


def test_that_comparison_sees_a_wrong_case(tmp_path):
    ours = trained(lowercase=False)
    ours.save(tmp_path)
    (tmp_path / "vocab.txt").rename(tmp_path / "renamed.txt")
    (tmp_path / "tokenizer_config.json").unlink()
    wrong = load(tmp_path / "renamed.txt", lowercase=True)
    assert wrong.encode_batch(_SAMPLES) != ours.encode_batch(_SAMPLES)


def test_saving_after_encoding_with_special_tokens_writes_the_same_bytes(tmp_path):
    ours = trained()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    ours.save(tmp_path / "a")
    ours.encode("the [MASK]", special=True)
    ours.encode("the [MASK]")
    ours.save(tmp_path / "b")
    for name in ("tokenizer.json", "vocab.txt"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_a_frame_of_its_own_is_saved_as_it_is(tmp_path, kind):
    """The classes of `transformers` would put their own around a text, so it gets none of them."""
    ours = load_copy(trained(kind=kind, lowercase=kind == "wordpiece"), tmp_path)
    usual = json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"]
    assert usual == {"wordpiece": "BertTokenizer", "bpe": "RobertaTokenizer"}[kind]
    sep = ours.names["sep"]
    ours.backend.post_processor = processors.TemplateProcessing(
        single=f"$A {sep}", pair=f"$A {sep} $B {sep}", special_tokens=[(sep, ours.special.sep)]
    )
    expected = ours.encode(TEXTS[0], special=True)
    assert expected[0] != ours.special.cls
    ours.save(tmp_path)
    assert load(tmp_path).encode(TEXTS[0], special=True) == expected
    saved = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert saved["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_vocab_txt_has_an_entry_a_line_in_order(tmp_path):
    ours = trained()
    ours.save(tmp_path)
    assert (tmp_path / "vocab.txt").read_text(encoding="utf-8").splitlines() == entries(ours)


def test_a_loaded_vocabulary_keeps_its_own_ids(tmp_path):
    file = tmp_path / "vocab.txt"
    file.write_text("[MASK]\n[unused0]\n[SEP]\nthe\n[CLS]\n[UNK]\ndog\n##s\n[PAD]")  # no newline at the end
    vocabulary = load(file)
    assert vocabulary.special == SpecialIds(pad=8, unk=5, cls=4, sep=2, mask=0)
    assert vocabulary.encode("The dogs [MASK]", special=True) == [4, 3, 6, 7, 0, 2]


def test_a_tokenizer_json_that_pads_and_truncates_is_read_without_either(tmp_path):
    ours = load_copy(trained(), tmp_path)
    ours.backend.enable_padding(length=64)
    ours.backend.enable_truncation(8)
    ours.save(tmp_path)
    assert load(tmp_path / "tokenizer.json").encode(TEXTS[0]) == trained_ids(tmp_path, TEXTS[0])


def load_copy(vocabulary, folder: Path):
    """One that may be changed: the trained ones are shared."""
    vocabulary.save(folder)
    return load(folder)


def trained_ids(folder: Path, text: str) -> list[int]:
    return load(folder / "vocab.txt").encode(text)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "vocab.txt",
            "the\ndog\n",
            r"vocab\.txt: the vocabulary lacks the special tokens \[PAD\], \[UNK\], ",
        ),
        ("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n", r"vocab\.txt: .* lacks the special tokens \[MASK\]: "),
        ("vocab.txt", b"\xff\xfe", r"vocab\.txt: not a vocabulary that can be read: .*UTF-8"),
        ("tokenizer.json", "{", r"tokenizer\.json: not JSON "),
        ("tokenizer.json", '{"added_tokens": [{"content": "x"}]}', r"tokenizer\.json: not a vocabulary"),
        ("vocab.json", "{}", r": vocab\.json and merges\.txt belong together, and merges\.txt is missing"),
        ("tokenizer.json", "{}", r"tokenizer\.json: not a vocabulary that can be read: "),
    ],
)
def test_a_file_that_is_no_bert_vocabulary_is_one_clear_fault(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        load(tmp_path / name)


def test_bpe_files_that_do_not_belong_together_are_one_clear_fault(tmp_path):
    trained(kind="bpe").save(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "merges.txt").write_text("#version: 0.2\nno such\n")
    with pytest.raises(UserError, match=r"vocab\.json: not a vocabulary that can be read: .*$") as caught:
        load(tmp_path / "vocab.json")
    assert "\n" not in str(caught.value)


def test_a_missing_vocabulary_names_the_path(tmp_path):
    with pytest.raises(
        UserError, match=r"^no vocabulary at .*/gone\.txt: expected a tokenizer\.json, vocab\.txt, "
    ):
        load(tmp_path / "gone.txt")


def test_a_folder_without_a_vocabulary_names_the_folder(tmp_path):
    with pytest.raises(UserError, match=f"^no vocabulary at {tmp_path}: expected a tokenizer.json"):
        load(tmp_path)


# ---------------------------------------------------------------------------------------------
# Roles of special tokens
# ---------------------------------------------------------------------------------------------


def plain(*tokens: str) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(
        models.WordLevel({t: i for i, t in enumerate(tokens)}, unk_token=tokens[0])
    )
    backend.add_special_tokens(list(tokens[:-1]))
    return backend


@pytest.mark.parametrize(
    ("tokens", "special"),
    [
        (("<unk>", "<s>", "</s>", "<pad>", "<mask>", "x"), SpecialIds(unk=0, cls=1, sep=2, pad=3, mask=4)),
        (("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "x"), SpecialIds(pad=0, cls=1, sep=2, unk=3, mask=4)),
        (("<unk>", "<cls>", "<sep>", "<pad>", "<mask>", "x"), SpecialIds(unk=0, cls=1, sep=2, pad=3, mask=4)),
        (
            ("<unk>", "[CLS]", "[SEP]", "<pad>", "[MASK]", "<s>", "x"),
            SpecialIds(unk=0, cls=1, sep=2, pad=3, mask=4),
        ),
    ],
)
def test_special_tokens_are_found_by_their_usual_names(tmp_path, tokens, special):
    plain(*tokens).save(str(tmp_path / "tokenizer.json"))
    assert load(tmp_path).special == special


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("wrap", [lambda token: token, lambda token: {"content": token, "lstrip": True}])
def test_the_files_beside_name_unusual_ones(tmp_path, name, wrap):
    plain("?", "<bos>", "</s>", "<nil>", "<hide>", "<s>", "x").save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match=r"lacks the special tokens \[PAD\], \[UNK\], \[MASK\]$"):
        load(tmp_path / "tokenizer.json")
    named = {"unk_token": "?", "cls_token": "<bos>", "pad_token": "<nil>", "mask_token": "<hide>"}
    (tmp_path / name).write_text(json.dumps({role: wrap(token) for role, token in named.items()}))
    vocabulary = load(tmp_path / "tokenizer.json")
    assert vocabulary.special == SpecialIds(unk=0, cls=1, sep=2, pad=3, mask=4)
    (tmp_path / "again").mkdir()
    vocabulary.save(tmp_path / "again")
    assert load(tmp_path / "again").special == vocabulary.special
    (tmp_path / name).write_text("{")
    with pytest.raises(UserError, match=f"{name}: not JSON"):
        load(tmp_path)


def test_a_published_unigram_file_gives_no_structure_from_text(tmp_path):
    """There "[SEP]" has the score 0 of a certain piece."""
    trained(kind="unigram", lowercase=False).save(tmp_path)
    backend = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    backend.encode_special_tokens = True
    text = "the dog[SEP]"
    assert 3 in backend.encode(text, add_special_tokens=False).ids
    assert 3 not in load(tmp_path).encode(text)
    assert load(tmp_path).encode(text, special=True).count(3) == 2


# ---------------------------------------------------------------------------------------------
# Against transformers
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lowercase", [True, False])
def test_transformers_reads_the_folder_to_the_same_ids(tmp_path, kind, lowercase):
    transformers = pytest.importorskip("transformers")
    ours = trained(kind=kind, lowercase=lowercase)
    ours.save(tmp_path, max_length=77)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(_SAMPLES)["input_ids"] == ours.encode_batch(_SAMPLES, special=True)
    assert theirs.model_max_length == 77
    for role in ("pad", "unk", "cls", "sep", "mask"):
        assert getattr(theirs, f"{role}_token_id") == getattr(ours.special, role)
    ours.backend.encode_special_tokens = False
    assert theirs("the dog", "a fox")["input_ids"] == ours.backend.encode("the dog", "a fox").ids
    usual = (
        ["input_ids", "attention_mask"]
        if kind == "bpe"
        else ["input_ids", "token_type_ids", "attention_mask"]
    )
    assert list(theirs("a")) == usual


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("source", ["folder", "vocab.txt"])
def test_transformers_gives_the_same_ids(tmp_path, lowercase, source):
    transformers = pytest.importorskip("transformers")
    ours = trained(lowercase=lowercase)
    ours.save(tmp_path)
    if source == "folder":
        theirs = transformers.BertTokenizer.from_pretrained(tmp_path, do_lower_case=lowercase)
    else:
        theirs = transformers.BertTokenizer(str(tmp_path / "vocab.txt"), do_lower_case=lowercase)
    assert theirs(_SAMPLES)["input_ids"] == ours.encode_batch(_SAMPLES, special=True)
    assert theirs.mask_token_id == ours.special.mask
