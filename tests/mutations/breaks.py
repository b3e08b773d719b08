"""Every break, by name."""

from tests.mutations import breaks_of_batches, breaks_of_losses, breaks_of_tasks, breaks_of_training

BREAKS = (
    *breaks_of_batches.BREAKS,
    *breaks_of_training.BREAKS,
    *breaks_of_losses.BREAKS,
    *breaks_of_tasks.BREAKS,
)
