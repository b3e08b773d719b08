"""English function words: too common, and too much part of the grammar, to be replaced by another word."""

from __future__ import annotations

_DETERMINERS = """
    a an the this that these those such some any no none each every either neither both all half several few many much
    more most less least enough other others another own same
"""
_PRONOUNS = """
    i me my mine myself you your yours yourself yourselves he him his himself she her hers herself it its itself we us
    our ours ourselves they them their theirs themselves one ones oneself who whom whose which what whoever whatever
    whichever someone somebody something anyone anybody anything everyone everybody everything nobody nothing
"""
_AUXILIARIES = """
    am is are was were be been being have has had having do does did doing done can could may might must shall should
    will would ought need dare cannot
"""
_PREPOSITIONS = """
    about above across after against along among amongst around as at before behind below beneath beside besides
    between beyond by down during except for from in inside into like near of off on onto out outside over past per
    round since through throughout till to toward towards under underneath until up upon versus via with within without
"""
_CONJUNCTIONS = """
    and but or nor so yet if unless although though because while whereas whether than then else once
"""
_ADVERBS = """
    not never ever here there where when why how wherever whenever however again also just only very too quite rather
    almost already always often sometimes still now even perhaps maybe indeed therefore thus hence otherwise further
"""
_CONTRACTIONS = """
    s t d ll m re ve don doesn didn isn aren wasn weren hasn haven hadn won wouldn couldn shouldn mustn mightn needn
    shan ain
"""
"""Their parts on either side of the apostrophe: don't, I'll, we've."""

STOP_WORDS = frozenset(
    " ".join(
        (_DETERMINERS, _PRONOUNS, _AUXILIARIES, _PREPOSITIONS, _CONJUNCTIONS, _ADVERBS, _CONTRACTIONS)
    ).split()
)
"""In lower case."""
