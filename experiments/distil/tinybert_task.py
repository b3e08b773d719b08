"""TinyBERT's second stage, on a task: first what its teacher computes, then what it predicts (Jiao et al. 2020, 3.2).

    bert-jax augment --model google-bert/bert-base-uncased --input train.tsv --output train_aug.tsv
    bert-jax finetune --config experiments/tasks/text.py --init google-bert/bert-base-uncased --workdir runs/teacher \\
        --config.task.train=train.tsv --config.task.eval=dev.tsv
    bert-jax distill --config experiments/distil/tinybert_task.py:intermediate --teacher runs/teacher \\
        --init runs/tinybert --workdir runs/tiny-intermediate
    bert-jax distill --config experiments/distil/tinybert_task.py:prediction --teacher runs/teacher \\
        --init runs/tiny-intermediate --workdir runs/tiny-task

intermediate: attention scores and hidden states as in the first stage, constant rate 5e-5; 10 passes over the augmented
examples of SST-2 and QNLI, 5 of MNLI and QQP, 20 of MRPC, STS-B and RTE, 50 of CoLA. prediction: soft cross-entropy at
temperature 1, 3 passes, 3e-5, batch 32; for numbers (STS-B) the released code learns the gold labels: there
--config.distil.hard=1 --config.distil.soft=0 is not distillation, so `bert-jax finetune` does it.

--config.distil.quirks=mean_of_classes divides the soft cross-entropy by the number of classes, as the released code does.
Published: see tinybert_general.py. Not yet run with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import DistilFinetuneConfig, base


def get_config(stage: str = "prediction") -> ConfigDict:
    config = base(DistilFinetuneConfig)
    config.task.train = "train_aug.tsv"
    config.task.eval = "dev.tsv"
    config.task.max_length = 64
    config.distil.hard = 0.0
    if stage == "intermediate":
        config.task.select = "loss"  # the head learns in the next stage
        config.distil.hidden_mse = 1.0
        config.distil.attention_mse = 1.0
        config.optim.learning_rate = 5e-5
        config.optim.schedule = "constant"
        config.train.epochs = 10.0
        return config
    if stage != "prediction":
        raise ValueError(f"stage {stage!r} must be intermediate or prediction")
    config.distil.soft = 1.0
    config.distil.temperature = 1.0
    config.optim.learning_rate = 3e-5
    return config
