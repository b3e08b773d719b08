"""A small model for your own task, taught by a large one that is fine-tuned on it: labels and the teacher's predictions.

    bert-jax finetune --config experiments/tasks/text.py --init google-bert/bert-base-uncased --workdir runs/teacher \\
        --config.task.train=train.tsv --config.task.eval=dev.tsv
    bert-jax distill --config experiments/distil/task.py --teacher runs/teacher --workdir runs/student --seeds 0,1,2 \\
        --config.task.train=train.tsv --config.task.eval=dev.tsv

The student is every second layer of a teacher of 12 layers (--config.distil.student_layers), or any model of the same
vocabulary (--init, with --config.distil.student_layers=). Any task of `bert-jax finetune`: set config.task.kind as the
teacher has it. --teacher given several times: their predictions are averaged. Texts without labels teach too: give them
any label and set --config.distil.hard=0.
"""

from ml_collections import ConfigDict

from bert_jax.config import DistilFinetuneConfig, base


def get_config() -> ConfigDict:
    config = base(DistilFinetuneConfig)
    config.task.train = "train.tsv"
    config.task.eval = "dev.tsv"
    config.distil.soft = 1.0
    config.distil.student_layers = (1, 3, 5, 7, 9, 11)
    config.optim.learning_rate = 5e-5
    return config
