"""What the real compilers of TPUs and GPUs make of a training step, on a machine that has neither.

- targets: machines by name, and their compilers
- hlo, shapes: the text of an optimised module, parsed
- flops, traffic, collectives: what one instruction computes, moves and sends; cost: all that run, with their trips
- roofline: the least time that a chip needs for all of it; report: tables of it
"""
