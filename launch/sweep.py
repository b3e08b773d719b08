#!/usr/bin/env python
"""The same as `bert-jax sweep`: python launch/sweep.py FILE --workdir S."""

import sys

from bert_jax.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["sweep", *sys.argv[1:]]))
