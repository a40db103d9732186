"""From recordings to what predictors see: splits, valid frames, crops, and frames shared on a node."""

from fishray.sequences.sequence import Sequence, Sequences, valid_labels

__all__ = ["Sequence", "Sequences", "valid_labels"]
