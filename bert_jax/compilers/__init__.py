"""What the real compilers of TPUs and GPUs make of a training step, on a machine that has neither.

targets    the chips that are known, and their compilers
hlo        the text of an optimised module, parsed
cost       what each instruction of it computes, moves and sends
roofline   the least time that a chip needs for all of it
"""
