#!/usr/bin/env bash
# Trains, exports and fine-tunes a small BERT: installs into .venv, then prepares, pretrains, evaluates, exports, fills
# masks, and fine-tunes the model and one of random weights on a labelled set that comes with the packages. If it is
# interrupted, the same command resumes.
#
#   bash launch/quickstart.sh [RUN]      RUN: folder of the run, default runs/quickstart
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/install.sh
install_package "${EXTRAS:-}"

run="${1:-runs/quickstart}"
config=experiments/quickstart.py
export BERT_JAX_DATA="${BERT_JAX_DATA:-runs/corpora}"

SECONDS=0
bert-jax prepare --config "$config"
bert-jax pretrain --config "$config" --workdir "$run"
bert-jax evaluate --workdir "$run"
if [ ! -e "$run/hf/config.json" ]; then
  bert-jax export --workdir "$run" --format hf --out "$run/hf"
fi
echo
bert-jax predict --model "$run/hf" --task fill-mask --top-k 5 \
  "Return the [MASK] of the given array." \
  "If the file does not [MASK], an error is raised." \
  "This [MASK] is deprecated and will be removed in a future version."
task=experiments/tasks/installed_docs.py
bert-jax finetune --config "$task" --init "$run" --workdir "$run-package"
bert-jax finetune --config "$task" --init "$run" --workdir "$run-package-random" --config.tuning.weights=random
cat <<EOF

Which package a paragraph comes from is what the last two tables score, first from the model just trained, then from
random weights.

Done in $((SECONDS / 60)) min $((SECONDS % 60)) s.
  curves   $run/loss.png
  model    $run/hf (Hugging Face format)

Next: the same with next-sentence prediction instead of sentence order, and both in one plot:
  . .venv/bin/activate; export BERT_JAX_DATA=$BERT_JAX_DATA
  bert-jax pretrain --config $config:nsp --workdir runs/nsp
  bert-jax plot --workdir $run --workdir runs/nsp --out runs/compare.png
EOF
