"""The rules of an architecture: what is set -> the one fault that it must give."""

import pytest

from tests.config.test_loading import faults

_BROKEN = [
    (
        {"model__pooler": "none"},
        "config.model.pooler='none' must be tanh or gelu for config.data.sentence_objective='nsp': the pair head"
        " reads the pooler",
    ),
    (
        {"model__groups": 5, "model__sharing": "all"},
        "config.model.groups=5 must divide config.model.num_layers=12: groups have as many layers each",
    ),
    (
        {"model__groups": 2},
        "config.model.groups=2 must be 1 for config.model.sharing='none', or it does nothing",
    ),
    *(
        (
            {f"model__relative__{field}": value},
            f"config.model.relative.{field}={value!r} must go with config.model.positions='disentangled', or it does"
            " nothing",
        )
        for field, value in {
            "span": 64,
            "buckets": 256,
            "terms": ("c2p",),
            "projections": "shared",
            "norm": True,
            "key_bias": False,
            "convolution": 3,
            "mask_decoder": True,
        }.items()
    ),
    (
        {"model__positions": "disentangled", "model__embedding_size": 128},
        "config.model.embedding_size=128 must be 0 for config.model.positions='disentangled'",
    ),
    (
        {"model__positions": "disentangled", "model__position_offset": 2},
        "config.model.position_offset=2 must be 0 without absolute positions"
        " (config.model.positions='disentangled', relative.mask_decoder=False), or it does nothing",
    ),
    (
        {
            "model__positions": "disentangled",
            "model__attention_backend": "cudnn",
            "model__attention_dropout_rate": 0,
            "model__dtype": "bfloat16",
        },
        "config.model.attention_backend='cudnn' must go with config.model.positions absolute or rotary: the fused kernel"
        " has no scores of its own for positions",
    ),
    (
        {
            "model__positions": "alibi",
            "model__attention_backend": "cudnn",
            "model__attention_dropout_rate": 0,
            "model__dtype": "bfloat16",
        },
        "config.model.attention_backend='cudnn' must not go with config.model.positions='alibi': the fused kernel adds"
        " no biases",
    ),
    (
        {"model__positions": "rotary", "model__hidden_size": 36},
        "config.model.hidden_size=36 / num_heads=12 = 3 must be even for config.model.positions='rotary', which turns"
        " pairs",
    ),
    (
        {"model__positions": "rotary", "model__position_offset": 2},
        "config.model.position_offset=2 must be 0 for config.model.positions='rotary', or it does nothing",
    ),
    (
        {"model__positions": "rotary", "model__rotary__local_base": 100.0},
        "config.model.rotary.local_base=100.0 must go with a local layer in config.model.pattern=global, or it does"
        " nothing",
    ),
    (
        {"model__rotary__base": 100.0},
        "config.model.rotary.base=100.0 must go with config.model.positions='rotary', or it does nothing",
    ),
    (
        {"model__window": 8},
        "config.model.window=8 must go with config.model.pattern='local', or it does nothing",
    ),
    ({"model__pattern": ()}, "config.model.pattern=() must name a reach: global, local or several"),
    (
        {"model__pattern": ("global",) * 13},
        f"config.model.pattern={','.join(['global'] * 13)} must be at most config.model.num_layers=12 long",
    ),
    (
        {"model__norm__kind": "rms", "model__norm__bias": False},
        "config.model.norm.bias=False must go with config.model.norm.kind='layer', or it does nothing",
    ),
    (
        {"model__norm__first": False},
        "config.model.norm.first=False must go with config.model.norm.place='before', or it does nothing",
    ),
    (
        {"model__norm__first": False, "model__norm__place": "before", "model__sharing": "all"},
        "config.model.norm.first=False must go with config.model.sharing='none', not 'all': the first layer has not all"
        " that the others have",
    ),
    (
        {
            "model__positions": "disentangled",
            "model__relative__mask_decoder": True,
            "model__norm__place": "before",
        },
        "config.model.relative.mask_decoder=True must go with config.model.norm.place='after': it applies the last layer"
        " again, to states that no last norm has seen",
    ),
    (
        {"model__mlm_head__transform": False, "model__embedding_size": 128},
        "config.model.mlm_head.transform=False must go with config.model.embedding_size=0, not 128: the token table is"
        " read at its own width",
    ),
    (
        {"model__dropout_at": ()},
        "config.model.dropout_at=() must be embeddings, attention, mlp or several, each once",
    ),
    (
        {"model__dropout_at": ("attention",), "model__dropout_rate": 0},
        "config.model.dropout_at=('attention',) must go with config.model.dropout_rate > 0, or it does nothing",
    ),
    *(
        (
            {"model__positions": "disentangled", "model__relative__terms": terms},
            f"config.model.relative.terms={terms} must be c2p, p2c or both, each once",
        )
        for terms in ((), ("c2p", "c2p"))
    ),
    *(
        (
            {"model__positions": "disentangled", "model__relative__buckets": buckets},
            f"config.model.relative.buckets={buckets} must be 0, or even and < config.model.relative.span=512",
        )
        for buckets in (255, 512)
    ),
    (
        {"model__positions": "disentangled", "model__relative__convolution": 4},
        "config.model.relative.convolution=4 must be 0 or odd: taps lie around each token",
    ),
    (
        {"model__num_heads": 7},
        "config.model.hidden_size=768 must be a multiple of config.model.num_heads=7",
    ),
    (
        {"model__attention_backend": "cudnn", "model__attention_dropout_rate": 0},
        "config.model.attention_backend='cudnn' must have config.model.dtype='bfloat16' (is 'float32')"
        " and config.model.attention_dropout_rate=0 (is 0.0)",
    ),
    (
        {"model__attention_backend": "cudnn", "model__dtype": "bfloat16"},
        "config.model.attention_backend='cudnn' must have config.model.dtype='bfloat16' (is 'bfloat16')"
        " and config.model.attention_dropout_rate=0 (is 0.1)",
    ),
    (
        {"model__attention_backend": "pallas", "model__num_heads": 48},
        "config.model.attention_backend='pallas' must have heads of 32, 64, 128 (config.model.hidden_size / num_heads are"
        " 16)",
    ),
    (
        {"model__attention_backend": "triton", "model__num_heads": 48},
        "config.model.attention_backend='triton' must have heads of 32, 64, 128 (config.model.hidden_size / num_heads are"
        " 16)",
    ),
    (
        {"model__attention_backend": "pallas", "model__hidden_size": 192, "model__num_heads": 6},
        "config.model.hidden_size=192 must be a multiple of 128 for config.model.attention_backend='pallas'",
    ),
    (
        {"model__attention_backend": "triton", "data__sequence_length": 200},
        "config.data.sequence_length=200 must be a multiple of 64 for config.model.attention_backend='triton'",
    ),
    (
        {"model__attention_backend": "pallas", "model__positions": "alibi"},
        "config.model.attention_backend='pallas' must not go with config.model.positions='alibi': the fused kernel adds"
        " no biases",
    ),
    (
        {"model__attention_backend": "pallas", "data__sequence_length": 200},
        "config.data.sequence_length=200 must be a multiple of 128, and at most 1365 for config.model.hidden_size=768, for"
        " config.model.attention_backend='pallas'",
    ),
    (
        {"model__attention_backend": "pallas", "parallel__tensor": 4},
        "config.model.hidden_size=768 must be a multiple of 128 x config.parallel.tensor=4 for"
        " config.model.attention_backend='pallas'",
    ),
]


@pytest.mark.parametrize(("changes", "message"), _BROKEN, ids=lambda v: str(v)[:60])
def test_a_broken_rule_is_the_only_fault(changes, message):
    assert faults(**changes) == (message,)
