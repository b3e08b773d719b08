"""SentencePiece's .model: the ids of the library itself."""

from __future__ import annotations

import io

import pytest

from bert_jax.errors import UserError
from bert_jax.text.tokenizer import load
from tests.text.samples import HARD, TEXTS, words_from

TEXT = [*TEXTS, *(" ".join(words_from("abcdeéfgABC.,数", count=30, seed=seed)) for seed in range(40))]
ALBERT = {
    "pad_id": 0,
    "unk_id": 1,
    "bos_id": -1,
    "eos_id": -1,
    "control_symbols": ["[CLS]", "[SEP]", "[MASK]"],
}
DEBERTA = {
    "pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3,
    "pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]",
}  # fmt: skip


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    sentencepiece = pytest.importorskip("sentencepiece")

    def trained(**options):
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXT), model_writer=model, minloglevel=2, num_threads=1,
            **{"model_type": "unigram", "vocab_size": 120, "hard_vocab_limit": False} | options,
        )  # fmt: skip
        path = tmp_path_factory.mktemp("model") / "spiece.model"
        path.write_bytes(model.getvalue())
        return path, sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())

    return trained


@pytest.mark.parametrize("rule", ["nmt_nfkc", "nmt_nfkc_cf", "identity"])
@pytest.mark.parametrize("options", [ALBERT, DEBERTA, ALBERT | {"byte_fallback": True, "vocab_size": 400}])
def test_ids_are_the_librarys(make, rule, options):
    path, theirs = make(normalization_rule_name=rule, **options)
    ours = load(path)
    assert [ours.token(i) for i in range(theirs.get_piece_size())] == [
        theirs.id_to_piece(i) for i in range(theirs.get_piece_size())
    ]
    for text in [*HARD, *TEXT]:
        assert ours.encode(text) == theirs.encode(text), text
    assert len({*vars(ours.special).values()}) == 5
    if options is DEBERTA:
        assert ours.special.mask == theirs.get_piece_size() == ours.vocab_size - 1
    else:
        assert ours.token(ours.special.mask) == "[MASK]" and ours.vocab_size == theirs.get_piece_size()


def test_a_model_is_found_in_its_folder_and_saved_as_ours(make, tmp_path):
    path, _ = make(**ALBERT)
    ours = load(path.parent)
    ours.save(tmp_path)
    again = load(tmp_path)
    assert again.special == ours.special
    for special in (False, True):
        assert again.encode_batch(list(HARD), special=special) == ours.encode_batch(
            list(HARD), special=special
        )
    assert ours.encode("the [MASK]", special=True).count(ours.special.mask) == 1


def test_user_defined_symbols_are_whole_wherever_they_stand(make):
    path, theirs = make(user_defined_symbols=["<br>"], **ALBERT)
    ours = load(path)
    for text in ("the <br> dog", "the dog<br>", "<br>"):
        ids, expected = ours.encode(text), theirs.encode(text)
        assert ids.count(theirs.piece_to_id("<br>")) == expected.count(theirs.piece_to_id("<br>")) == 1


def test_a_model_of_another_kind_is_one_clear_fault(make):
    path, _ = make(model_type="bpe", **ALBERT)
    with pytest.raises(UserError, match=r"spiece\.model: must be a SentencePiece model of the unigram kind"):
        load(path)


def test_a_damaged_model_is_one_clear_fault(make, tmp_path):
    path, _ = make(**ALBERT)
    for content in (b"", b"no model", path.read_bytes()[:-100], path.read_bytes()[:200], bytes(range(256))):
        (tmp_path / "x.model").write_bytes(content)
        with pytest.raises(UserError, match=r"x\.model: ") as caught:
            load(tmp_path / "x.model")
        assert "\n" not in str(caught.value)
