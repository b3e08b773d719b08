"""What is measured of preparation."""

from bert_jax.benchmarks import prepare


def test_one_process_several_and_the_library_are_measured(prepared):
    values = prepare.measure(prepared, repeats=1, processes=2)
    assert values["ratio_to_tokenizers"] == values["mb_per_s"] / values["tokenizers_mb_per_s"]
    assert values["tokens_per_s"] > 0 and values["mb_per_s_2_processes"] > 0
    assert 10 < values["peak_memory_mib"] < values["peak_memory_mib_2_processes"] < 2**16  # MiB, not bytes
