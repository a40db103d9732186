"""How the fish of a simulated tank behave: schooling, bursts and glides, displays and chases.

Lengths are body lengths, times are seconds, angles are radians; the y axis points down, as in an image. Fish turn when
they beat their tail and glide in between, as real ones do (Calovi et al. 2018, PLoS Comput. Biol. 14:e1005933). The
numbers were chosen so that the speed ỹ of the decoded video is spread and lasts as in a real recording of six Serpae
tetra, and so that the last speed alone foretells a burst about as well as it does there; compare the two with
tests/evidence/tank_against_real.py. What a tank tells beyond its speed is the aggressor: its fins spread the wider the
sooner it strikes.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fishray.config.tank import TankSettings
from fishray.simulate.arena import Arena

Floats = NDArray[np.float64]

# Swimming
CRUISE_SPEED = 0.18  # to which a glide slows [body lengths / s]
BEAT_RATE = 4.5  # tail beats [1/s] of a calm fish
BEAT_SPEED = 0.32  # mean gain in speed by one beat [body lengths / s]
GLIDE_S = 0.4  # time constant with which a glide slows
THRUST_S = 0.06  # time constant with which a beat speeds up
TURN_S = 0.14  # time constant with which the heading follows a decision
WHIM = 0.35  # spread of the decisions, where 1 is the wish to go on ahead
SCULL_HZ, SWING = 1.5, 0.04  # of the tail of a fish at rest [body lengths]
MOOD_S, MOOD_SD = 10.0, 0.36  # the group's common restlessness: a log-normal Ornstein-Uhlenbeck process

# Encounters
NEAR = 3.0  # distance at which two fish may quarrel
CHASE_SHARE = 0.75  # of all encounters; the others come to nothing
DISPLAY_SPREAD = (7 / 9, 11 / 9)  # how long a display may last, as a share of the mean
CHASE_S = (0.3, 0.7)
PEACE_S = 0.8  # after an event, before the next
FIN_SPREAD = 10 / 9  # mean displays in which fins spread wholly, steadily: their width tells how soon the chase comes
FOLD_S = 0.16  # time constant with which they fold
CALM = 0.2  # vigour of the two that display, against the others
ALARM_S = 0.65  # how soon the group calms down after a burst
STARTLE = 0.8  # share of the group that beats as a chase starts
CHASE_VIGOUR = 1.3  # of the two that chase, against the others


@dataclass(frozen=True)
class Event:
    """A chase, with or without a display before it, or a bluff: a display that no chase follows.

    `burst_frame` is the first frame of the chase, None for a bluff or where the recording ends before; without a
    display it equals `start_frame`. `end_frame` is the last frame of the event.
    """

    kind: Literal["chase", "bluff"]
    start_frame: int
    burst_frame: int | None
    end_frame: int
    aggressor: int
    victim: int


class Tank:
    """N fish and what they are up to; `step` moves them on by one frame.

    During a display its two fish nearly keep still, the aggressor faces the other, and its fins spread: the speed knows
    nothing of it but a little less motion.

    Attributes
    ----------
    frame : int
        Frames since the start.
    position_n2 : shape (N, 2)
        Middle of each fish, x and y [body lengths].
    heading_n, speed_n : shape (N,)
        Direction [rad] and speed [body lengths / s] of swimming.
    bend_n : shape (N,)
        Sideways swing of the tail tip [body lengths].
    fins_n : shape (N,)
        Spread of the fins, 0 (folded) to 1 (display).
    """

    def __init__(self, settings: TankSettings) -> None:
        self._rng = np.random.default_rng(settings.seed)
        self._dt = 1 / settings.fps
        self._display_share, self._display_s = settings.display, settings.display_s
        self._encounters, self._alarm_gain = settings.encounters, settings.alarm
        self._arena = Arena(settings)
        n = settings.fish
        self.frame = 0
        self.position_n2: Floats = self._arena.scatter(n, self._rng)
        self.heading_n: Floats = self._rng.uniform(-np.pi, np.pi, n)
        self._goal_n = self.heading_n.copy()
        self.speed_n: Floats = np.full(n, 0.5)
        self._thrust_n: Floats = np.zeros(n)
        self._phase_n: Floats = self._rng.uniform(0, 2 * np.pi, n)
        self.bend_n: Floats = np.zeros(n)
        self.fins_n: Floats = np.zeros(n)
        self._mood = 0.0
        self._alarm = 0.0
        self._event: Event | None = None
        self._peace_until = 0
        self._events: list[Event] = []

    def step(self) -> None:
        """Move on by one frame."""
        self.frame += 1
        if self.frame > self._peace_until:
            self._meet()
        self._feel()
        self._beat()
        self._move()

    def events_until(self, frames: int) -> list[Event]:
        """Events of the first `frames` frames, in order; what lies behind them is cut off."""
        return [
            replace(
                event,
                burst_frame=event.burst_frame if (event.burst_frame or 0) < frames else None,
                end_frame=min(event.end_frame, frames - 1),
            )
            for event in self._events
            if event.start_frame < frames
        ]

    @property
    def displaying(self) -> Event | None:
        """The event whose aggressor displays at this frame."""
        event = self._event
        if event is None or self.frame > event.end_frame or self.chasing is not None:
            return None
        return event

    @property
    def chasing(self) -> Event | None:
        """The event whose aggressor chases its victim at this frame."""
        event = self._event
        if event is None or event.burst_frame is None or not event.burst_frame <= self.frame <= event.end_frame:
            return None
        return event

    def _meet(self) -> None:
        """Let two fish that are near each other quarrel, now and then: what comes of it is drawn at once."""
        if self._rng.random() >= self._encounters * self._dt:
            return
        aggressor = int(self._rng.integers(len(self.heading_n)))
        distance_n = np.linalg.norm(self.position_n2 - self.position_n2[aggressor], axis=1)
        distance_n[aggressor] = np.inf
        victim = int(distance_n.argmin())
        if distance_n[victim] > NEAR:
            return
        display_s = self._display_s * self._rng.uniform(*DISPLAY_SPREAD)
        chase_s = self._rng.uniform(*CHASE_S)
        chases = self._rng.random() < CHASE_SHARE
        shows = self._rng.random() < self._display_share * (1.0 if chases else 1 - self._display_share)
        if not (chases or shows):
            return
        burst_frame = self.frame + (round(display_s / self._dt) if shows else 0)
        end_frame = burst_frame + (round(chase_s / self._dt) if chases else 0)
        if chases:
            self._event = Event("chase", self.frame, burst_frame, end_frame, aggressor, victim)
        else:
            self._event = Event("bluff", self.frame, None, end_frame, aggressor, victim)
        self._peace_until = end_frame + round(PEACE_S / self._dt)
        self._events.append(self._event)

    def _feel(self) -> None:
        """Let the common mood drift, alarm rise and fade, fins spread and fold."""
        drift = MOOD_SD * np.sqrt(2 * self._dt / MOOD_S) * self._rng.standard_normal()
        self._mood += drift - self._mood * self._dt / MOOD_S
        chase = self.chasing
        self._alarm -= self._alarm * min(1, self._dt / ALARM_S)
        if chase is not None and self.frame == chase.burst_frame:
            self._alarm = 1.0
        folded_n = self.fins_n * (1 - min(1, self._dt / FOLD_S))
        display = self.displaying
        if display is not None:
            wider = self._dt / (FIN_SPREAD * self._display_s)
            folded_n[display.aggressor] = min(1, self.fins_n[display.aggressor] + wider)
        self.fins_n = folded_n

    def _beat(self) -> None:
        """Tail beats: each gives thrust and a decision where to turn."""
        n = len(self.heading_n)
        vigour_n = np.full(n, np.exp(self._mood) * (1 + self._alarm_gain * self._alarm))
        display, chase = self.displaying, self.chasing
        if chase is not None:
            vigour_n[[chase.aggressor, chase.victim]] *= CHASE_VIGOUR
        if display is not None:
            vigour_n[[display.aggressor, display.victim]] *= CALM
        beats_n = self._rng.random(n) < BEAT_RATE * vigour_n**0.5 * self._dt
        if chase is not None and self.frame == chase.burst_frame:
            beats_n |= self._rng.random(n) < STARTLE
        if beats_n.any():
            gain_n = BEAT_SPEED * self._rng.gamma(3, 1 / 3, n) * vigour_n**0.5
            self._thrust_n += np.where(beats_n, gain_n, 0)
            toward_n2 = self._decisions()
            self._goal_n = np.where(beats_n, np.arctan2(toward_n2[:, 1], toward_n2[:, 0]), self._goal_n)
        if display is not None:
            x, y = self.position_n2[display.victim] - self.position_n2[display.aggressor]
            self._goal_n[display.aggressor] = np.arctan2(y, x)

    def _decisions(self) -> Floats:
        """Where each fish would turn to if it beat its tail now; the longer the vector, the firmer the wish."""
        toward_n2 = (
            self._social() + self._arena.push(self.position_n2) + self._rng.normal(0, WHIM, self.position_n2.shape)
        )
        chase = self.chasing
        if chase is not None:
            flight_2 = self.position_n2[chase.victim] - self.position_n2[chase.aggressor]
            flight_2 /= np.linalg.norm(flight_2) + 1e-6
            toward_n2[chase.aggressor] = flight_2
            toward_n2[chase.victim] += 2 * flight_2
        return toward_n2

    def _social(self) -> Floats:
        """Direction in which each fish is drawn by the others: away when close, along when near, to them when far."""
        gap_nn2 = self.position_n2[None] - self.position_n2[:, None]
        distance_nn = np.linalg.norm(gap_nn2, axis=2) + np.where(np.eye(len(gap_nn2)), 1e6, 1e-6)
        pull_nn = np.clip((distance_nn - 1.5) / 3, -1.5, 0.3) * np.exp(-((distance_nn / 5) ** 2))
        align_nn = 0.25 * np.exp(-((distance_nn / 2.5) ** 2))
        course_n2 = np.stack([np.cos(self.heading_n), np.sin(self.heading_n)], axis=1)
        attraction_n2 = np.einsum("nm,nmk->nk", pull_nn / distance_nn, gap_nn2)
        return np.asarray(course_n2 + attraction_n2 + align_nn @ course_n2)

    def _move(self) -> None:
        """Thrust, glide, turn, and stay inside the tank."""
        dt = self._dt
        push_n = self._thrust_n * min(1, dt / THRUST_S)
        self._thrust_n -= push_n
        cruise_n = np.full_like(self.speed_n, CRUISE_SPEED)
        display = self.displaying
        if display is not None:
            cruise_n[[display.aggressor, display.victim]] *= CALM
        self.speed_n += push_n + (cruise_n - self.speed_n) * min(1, dt / GLIDE_S)
        turn_n = (self._goal_n - self.heading_n + np.pi) % (2 * np.pi) - np.pi
        self.heading_n += turn_n * min(1, dt / TURN_S)
        course_n2 = np.stack([np.cos(self.heading_n), np.sin(self.heading_n)], axis=1)
        self.position_n2 = self._arena.keep_inside(self.position_n2 + course_n2 * (self.speed_n * dt)[:, None])
        self._phase_n += dt * 2 * np.pi * (SCULL_HZ + 1.2 * self.speed_n)
        self.bend_n = SWING * (1 + 0.6 * self.speed_n + 2.0 * self._thrust_n) * np.sin(self._phase_n)
