"""The published network in Keras: run by a Python that has keras and tensorflow, not by that of fishray.

python keras_peer.py NETWORK.npz: prints a logit for each clip, then takes one training step for each line it is sent.
"""

import json
import os
import sys

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}

import keras
import numpy as np
import tensorflow

tensorflow.config.threading.set_intra_op_parallelism_threads(1)
tensorflow.config.threading.set_inter_op_parallelism_threads(1)


def main():
    given = np.load(sys.argv[1])
    clips_bshwc, label_b = given["clips"], given["labels"]
    kernel = given["kernel"]
    network = keras.Sequential(
        [
            keras.layers.Input(clips_bshwc.shape[1:]),
            keras.layers.ConvLSTM2D(
                kernel.shape[-1] // 4, kernel.shape[:2], padding="same", recurrent_activation="sigmoid"
            ),
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Dense(1),
        ]
    )
    network.set_weights([given[name] for name in ("kernel", "recurrent", "bias", "head", "head_bias")])
    network.compile(keras.optimizers.AdamW(1e-3), keras.losses.BinaryCrossentropy(from_logits=True))
    print(json.dumps(network(clips_bshwc)[:, 0].numpy().tolist()), flush=True)
    for _ in sys.stdin:
        network.train_on_batch(clips_bshwc, label_b)
        print(flush=True)


if __name__ == "__main__":
    main()
