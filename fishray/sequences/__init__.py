"""From recordings to what predictors see: splits, valid frames, crops, and frames shared on a node."""

from fishray.sequences.splits import Sequence, Sequences, load_sequences

__all__ = ["Sequence", "Sequences", "load_sequences"]
