"""Clipped and noised uploads: a Flower mod around the ClientApp, for the keys `dp-clip` and `dp-noise`."""

import math
from collections.abc import Callable

import numpy as np
from flwr.app import Context, Message, MessageType
from flwr.clientapp.typing import ClientAppCallable, Mod

from fedsieve import seeds
from fedsieve.contract import Arrays
from fedsieve.wire import to_arrays, to_record

Draw = Callable[[Context, int], np.random.RandomState]
"""Returns the generator of a client's noise in a round."""


def make_bounded_mod(draw: Draw) -> Mod:
    """Return a mod that sends θ + clip(θ_k - θ) + noise for θ_k, where θ is what the client was sent.

    It is Flower's `LocalDpMod` but for three things: a client that has not changed θ does not divide by 0, the standard
    deviation is a key and not derived from ε, and noise has a generator of its own. The client's state keeps θ_k.
    """

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        clip, noise = (float(context.run_config.get(key, 0.0)) for key in ("dp-clip", "dp-noise"))
        reply = call_next(message, context)
        if message.metadata.message_type != MessageType.TRAIN or clip == 0 or reply.has_error():
            return reply
        trained, sent = (to_arrays(each.content.array_records["arrays"]) for each in (reply, message))
        round_ = int(message.content.config_records["config"]["round"])  # type: ignore[arg-type]
        reply.content["arrays"] = to_record(clip_update(trained, sent, clip, clip * noise, draw(context, round_)))
        return reply

    return mod


def clip_update(
    trained: Arrays, sent: Arrays, clip: float, deviation: float, generator: np.random.RandomState
) -> Arrays:
    """Return `sent` + the update, scaled to a Euclidean norm of at most `clip`, + Gaussian noise.

    Flat clipping over all arrays together (McMahan et al., ICLR 2018, arXiv 1710.06963, section 2.3).

    Args:
        trained, sent: floating-point arrays of equal names and shapes.
        deviation: of the noise in each value.
    """
    updates = {name: array.astype(np.float64) - sent[name] for name, array in sorted(trained.items())}
    norm = math.sqrt(sum(float(np.vdot(update, update)) for update in updates.values()))
    scale = min(1.0, clip / norm) if norm > 0 else 1.0
    return {
        name: (sent[name] + scale * update + generator.normal(0.0, deviation, update.shape)).astype(sent[name].dtype)
        for name, update in updates.items()
    }


def make_secret_generator(*_: object) -> np.random.RandomState:
    """Return a generator that nobody else can have: who knows the seed of noise can take it off again."""
    return np.random.RandomState()


def make_seeded_generator(context: Context, round_: int) -> np.random.RandomState:
    """Return a simulation's generator: a run gives the same numbers each time, and hides nothing from anybody."""
    client = int(context.node_config["partition-id"])
    return seeds.random_state(int(context.run_config["seed"]), "dp-noise", client, round_)
