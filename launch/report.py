#!/usr/bin/env python
"""The same as `bert-jax report`: python launch/report.py S [--out DIR]."""

import sys

from bert_jax.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
